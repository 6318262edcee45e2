//! From the plan to published tags: the images to build, the gate, and the indexes.

pub mod gate;
pub mod images;
