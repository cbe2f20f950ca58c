//! Handing services over: `adopt` takes what runs without us into a VisiobookService, `eject` leaves what runs with us
//! to itself. Each first tells every step, then takes them one by one; one that was interrupted goes on where it ended.

mod adopt;
mod eject;
mod objects;

pub use adopt::{Adoption, Found, Role};
pub use eject::Ejection;
pub use objects::Error;

/// Hears of each step as it is taken.
pub type Listener<'a> = &'a mut dyn FnMut(&str);
