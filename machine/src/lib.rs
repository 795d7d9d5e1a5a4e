//! What the machine lets this process have, before anything is promised from it.
//!
//! Whoever needs much memory says so first, in named parts ([`Need`]), and asks whether there is room ([`Room`]): a model that
//! does not fit is refused with the figure, instead of being ended by the kernel or drowning the machine.

#![forbid(unsafe_code)]

mod cgroup;
mod memory;
mod need;
mod room;

pub use memory::{available, limit};
pub use need::{Need, TooMuch};
pub use room::Room;
