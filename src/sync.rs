//! The locks of what requests share. Under `cfg(shuttle)` the unit tests are those of `tests/model`, and a
//! lock is a place where the model checker may let another task go on.

#[cfg(not(all(test, shuttle)))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(all(test, shuttle))]
pub(crate) use shuttle_parking_lot::{Mutex, MutexGuard};
