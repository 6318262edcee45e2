//! From the plan to published tags: the images to build, the gate, and the indexes. What may be published is decided in
//! `gate`, purely, from what was looked up; what the gate refuses is not written.

pub mod build;
pub mod gate;
pub mod images;
pub mod merge;
