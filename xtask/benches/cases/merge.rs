//! `merge`: the index of each job, made of the images of both architectures.

use super::published::Published;
use crate::measure::{Way, in_turns};
use crate::registry::{Network, Registry};
use crate::report::{Comparison, Section, Wanted};
use crate::suite::Suite;

/// How many jobs are merged.
const JOBS: usize = 30;

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let registry = Registry::start(suite)?;
    let size = suite.size(JOBS);
    for network in Network::ALL {
        let published = Published::new(suite, &registry, network, size)?;
        let ways = vec![
            Way::new("ours", |_| {
                published.forget_indexes()?;
                Ok(vec![published.ours(&["merge"])])
            }),
            Way::new("recipe", |_| {
                published.forget_indexes()?;
                Ok(vec![published.peer("recipe-merge.sh", &[&published.tag, "recipe"], size)])
            }),
        ];
        let measured = in_turns(suite, &format!("merge {size}, {network}"), ways)?;
        let times = if network == Network::Loopback { 1.3 } else { 5.0 };
        section.comparisons.push(
            Comparison::new("merge new images", size, network, &measured[0])
                .with("one merge after the other", &measured[1])
                .wants([Wanted::TimesAsFast(times)]),
        );
    }
    section.notes.push("Ours checks every image, points `key-…` to the index too, and reads it back.".to_owned());
    section.notes.push("Before every turn the registry forgets the indexes.".to_owned());
    Ok(section)
}
