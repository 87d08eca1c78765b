//! The statistics of repeated measurements.

/// Returns the median, the lower one of an even number of times. Sorts `times`.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
