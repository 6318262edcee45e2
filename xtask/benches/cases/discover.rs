//! `discover`: the list of the jobs, as the workflow reads it.

use crate::measure::{Way, in_turns};
use crate::registry::base;
use crate::report::{Comparison, Section, Wanted};
use crate::suite::{Suite, ours, peer};
use crate::tree::{Content, Tree};

/// How many jobs the repositories have.
pub const SIZES: [usize; 3] = [100, 1_000, 10_000];

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    for size in SIZES.map(|size| suite.size(size)) {
        let tree = Tree::new(suite, "discover", size, &base("registry.example"), Content::Copy)?;
        let ways = vec![
            Way::new("ours", |_| Ok(vec![ours(tree.path(), &["discover"])])),
            Way::new("recipe", |_| Ok(vec![peer(tree.path(), "recipe-discover.sh", &[])])),
            Way::new("find", |_| Ok(vec![peer(tree.path(), "find.sh", &[])])),
        ];
        let measured = in_turns(suite, &format!("discover {size}"), ways)?;
        let compare = |name, peer| Comparison::new("discover", size, None, &measured[0]).with(name, peer);
        let wanted = (size == SIZES[2]).then_some(Wanted::TimesAsFast(50.0));
        section.comparisons.push(compare("find -exec test, jq", &measured[1]).wants(wanted));
        section.comparisons.push(compare("find alone", &measured[2]));
    }
    section.notes.push("No registry is asked.".to_owned());
    Ok(section)
}
