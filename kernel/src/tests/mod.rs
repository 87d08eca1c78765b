//! Tests of whole processes over memory, through the calls that an adapter makes.

mod rights;
