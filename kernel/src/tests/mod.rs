//! Tests of whole processes over memory, through the calls that an adapter makes.

mod files;
mod rights;
