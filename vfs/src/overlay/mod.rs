//! Overlays: one layer that is written over filesystems that are not.

mod layer;

pub use layer::{Adopted, Layer, LayerRef, Made, Says};
