//! `build`: new images of one architecture, each pushed.

use crate::measure::{Way, in_turns};
use crate::registry::{Network, Registry, base};
use crate::report::{Comparison, Section, Wanted};
use crate::suite::{OWN_ARCH, Suite, ours, peer, read};
use crate::tree::{Content, Tree};

/// How many jobs are built.
const JOBS: usize = 30;

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    let registry = Registry::start(suite)?;
    for network in Network::ALL {
        compare(suite, &registry, network, &mut section)?;
    }
    section.notes.push("Every turn changes what each job copies, commits it, and pushes under its tag.".to_owned());
    Ok(section)
}

fn compare(suite: &Suite, registry: &Registry, network: Network, section: &mut Section) -> anyhow::Result<()> {
    let (size, address) = (suite.size(JOBS), registry.address(network));
    let tree = Tree::new(suite, "build", size, &base(address), Content::Run)?;
    // Each way has repositories of its own, so that none finds layers that another has pushed.
    let prefixes = ["ours", "recipe", "bake"].map(|way| format!("build-{}-{way}", network.name()));
    let of_peer = |script: &str, prefix: &str| -> anyhow::Result<_> {
        let (repository, tag) = (format!("{address}/{prefix}"), tree.tag()?);
        Ok(peer(tree.path(), script, &[&[&repository, &tag, OWN_ARCH][..], &tree.jobs()[..]].concat()))
    };
    let of_ours = || {
        let mut command = ours(tree.path(), &["build", "--arch", OWN_ARCH, "--push"]);
        command.env("JOBS_REGISTRY", address).env("JOBS_PREFIX", &prefixes[0]);
        command
    };
    // The engine's first build from this address fetches the base, and each repository's first push its layers.
    read(of_ours())?;
    read(of_peer("recipe-build.sh", &prefixes[1])?)?;
    read(of_peer("bake.sh", &prefixes[2])?)?;
    let change = |way: &str, round: usize| tree.change_all(&format!("{network} {way} {round}"));
    let ways = vec![
        Way::new("ours", |round| change("ours", round).map(|()| vec![of_ours()])),
        Way::new("recipe", |round| {
            change("recipe", round)?;
            Ok(vec![of_peer("recipe-build.sh", &prefixes[1])?])
        }),
        Way::new("bake", |round| {
            change("bake", round)?;
            Ok(vec![of_peer("bake.sh", &prefixes[2])?])
        }),
    ];
    let measured = in_turns(suite, &format!("build {size}, {network}"), ways)?;
    let row = || Comparison::new("build and push new images", size, network, &measured[0]);
    section.comparisons.push(row().with("one build after the other", &measured[1]).wants([Wanted::TimesAsFast(2.0)]));
    section.comparisons.push(row().with("one bake", &measured[2]).wants([Wanted::TimesThePeer(1.25)]));
    Ok(())
}
