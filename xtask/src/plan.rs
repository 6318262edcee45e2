//! From the folders under `jobs/` to what is to be done: jobs, their recipes, what the registry holds of them, the
//! decisions, and the legs of a workflow with their slices. Asks `tools/`, and decides by pure functions.

pub mod bases;
pub mod decide;
pub mod jobs;
pub mod leg;
pub mod recipe;
pub mod since;
pub mod slice;
pub mod survey;
pub mod tree;
