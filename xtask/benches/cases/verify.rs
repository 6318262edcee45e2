//! `verify`: whether what is published is right, beside the merge of the recipe, which checks nothing.

use super::published::Published;
use crate::measure::{Way, in_turns};
use crate::registry::{Network, Registry};
use crate::report::{Comparison, Section, Wanted};
use crate::suite::{Suite, read};

/// How many jobs are verified.
const JOBS: usize = 30;

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let registry = Registry::start(suite)?;
    let size = suite.size(JOBS);
    for network in Network::ALL {
        let published = Published::new(suite, &registry, network, size)?;
        read(published.ours(&["merge"]))?;
        let ways = vec![
            Way::new("ours", |_| Ok(vec![published.ours(&["verify"])])),
            Way::new("recipe", |_| {
                // Ours adds annotations, so this index is another one.
                published.forget("recipe")?;
                Ok(vec![published.peer("recipe-merge.sh", &[&published.tag, "recipe"], size)])
            }),
        ];
        let measured = in_turns(suite, &format!("verify {size}, {network}"), ways)?;
        section.comparisons.push(
            Comparison::new("verify what is published", size, network, &measured[0])
                .with("one merge after the other", &measured[1])
                .wants([Wanted::TimesAsFast(20.0)]),
        );
    }
    Ok(section)
}
