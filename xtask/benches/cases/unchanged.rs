//! A push that changes no job: everything that a workflow does for it, for both architectures.

use super::published::Published;
use crate::measure::{Way, in_turns};
use crate::registry::{Network, Registry};
use crate::report::{Comparison, Section, Wanted};
use crate::suite::{Suite, read};

/// How many jobs the repository has.
const JOBS: usize = 100;
/// How many of them the recipe does, at hand and far away. It does one after the other, so that all of them take so many
/// times as long.
const PARTS: [usize; 2] = [25, 10];

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let (mut section, size) = (Section::default(), suite.size(JOBS));
    let registry = Registry::start(suite)?;
    for network in Network::ALL {
        let published = Published::new(suite, &registry, network, size)?;
        read(published.ours(&["merge"]))?;
        let part = PARTS[usize::from(network == Network::Far)].min(size);
        let recipe = |tag: &str| {
            let build = |arch: &str| published.peer("recipe-build.sh", &[tag, arch], part);
            vec![build("amd64"), build("arm64"), published.peer("recipe-merge.sh", &[tag, tag], part)]
        };
        // The engine's cache is as warm as it gets: it has built the very same before.
        recipe("warm").into_iter().try_for_each(|command| read(command).map(drop))?;
        let ways = vec![
            Way::new("ours", |round| {
                published.tree.change_none(&format!("{network} ours {round}"))?;
                let plan = published.ours(&["discover", "--changed", "--format", "matrix"]);
                Ok(vec![plan, published.ours(&["merge"])])
            }),
            Way::new("recipe", |round| {
                published.tree.change_none(&format!("{network} recipe {round}"))?;
                Ok(recipe(&format!("recipe-{}", published.tree.tag()?)))
            })
            .part(size as f64 / part as f64),
        ];
        let measured = in_turns(suite, &format!("unchanged {size}, {network}"), ways)?;
        let times = if network == Network::Loopback { 10.0 } else { 30.0 };
        section.comparisons.push(
            Comparison::new("push that changes nothing", size, network, &measured[0])
                .with("builds from the cache, merges", &measured[1])
                .wants([Wanted::TimesAsFast(times)]),
        );
    }
    section.notes = notes(size);
    Ok(section)
}

fn notes(size: usize) -> Vec<String> {
    vec![
        "Ours is `discover --changed --format matrix` and `merge`, one after the other.".to_owned(),
        format!(
            "The recipe did {} jobs, and {} at 50 ms; its time and CPU were scaled, as it does one job after the other.",
            PARTS[0].min(size),
            PARTS[1].min(size)
        ),
    ]
}
