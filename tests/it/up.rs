//! The whole service through its own binary: `up` with its broker and its database, DingTalk and the
//! experts played around it.

mod roads;
mod life;
mod crash;
