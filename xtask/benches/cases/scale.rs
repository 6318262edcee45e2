//! How time and memory grow with the repository: everything that is done when nothing has changed.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::discover::SIZES;
use crate::measure::{Measured, Way, in_turns};
use crate::registry::{Network, Registry};
use crate::report::{Comparison, Section, Wanted};
use crate::storage::Storage;
use crate::suite::{Suite, ours, peer, read, say};
use crate::tree::{Content, Tree};

/// What is expected to take longer than so many seconds is not measured.
const LONGEST: f64 = 60.0;
/// How many files the repository with many files has for each job, besides its Dockerfile.
const FILES: usize = 39;
/// How many jobs it has: together that makes 40,000 files.
const JOBS_WITH_FILES: usize = 1_000;

/// The works, each with its command.
const WORKS: [(&str, &[&str]); 3] = [("discover", &["discover"]), ("plan", &["plan"]), ("merge", &["merge"])];

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let mut section = Section::default();
    // How long each work took at the size before, by its name and the registry's distance.
    let mut before: BTreeMap<(&str, Network), f64> = BTreeMap::new();
    for size in SIZES.map(|size| suite.size(size)) {
        let registry = Registry::start(suite)?;
        let state = State::new(suite, &registry, size)?;
        for network in Network::ALL {
            measure(suite, &state, network, &mut before, &mut section)?;
        }
    }
    many_files(suite, &mut section)?;
    section
        .notes
        .push("Every job is published at this commit, so that `plan` and `merge` find nothing to do.".to_owned());
    section.notes.push("curl asks side by side for as many indexes; it reads none, and no configuration.".to_owned());
    Ok(section)
}

/// A repository whose jobs are all published.
struct State<'a> {
    tree: Tree,
    tag: String,
    registry: &'a Registry,
}

impl<'a> State<'a> {
    fn new(suite: &Suite, registry: &'a Registry, size: usize) -> anyhow::Result<State<'a>> {
        // By its name at Docker Hub, so that the keys are the same however far away the registry is.
        let tree = Tree::new(suite, "scale", size, "busybox:1.37", Content::Copy)?;
        let (storage, tag, commit) = (Storage::of(registry)?, tree.tag()?, tree.commit_id()?);
        let state = State { tree, tag, registry };
        let mut plan = state.ours(Network::Loopback, &["plan", "--format", "json"]);
        // Without a registry nothing is looked up but the base.
        plan.env_remove("JOBS_REGISTRY");
        let plan: Vec<Value> = serde_json::from_str(&read(plan)?).context("`plan` printed something else")?;
        anyhow::ensure!(plan.len() == size, "`plan` has {} jobs, not {size}", plan.len());
        let start = Instant::now();
        let publish = |job: &Value| {
            let (name, key) = job["job"].as_str().zip(job["key"].as_str()).context("a job of the plan has no key")?;
            let labels = BTreeMap::from([
                ("org.opencontainers.image.revision", commit.clone()),
                ("org.opencontainers.image.title", name.to_owned()),
                ("org.opencontainers.image.version", state.tag.clone()),
                ("vnd.jobs.bases", format!("busybox:1.37@{}", storage.base)),
                ("vnd.jobs.key", key.to_owned()),
            ]);
            storage.publish(&format!("jobs/{name}"), &labels, &[&state.tag, &format!("key-{key}")])
        };
        side_by_side(&plan, publish)?;
        say(&format!("  published {size} jobs in {:.0} s", start.elapsed().as_secs_f64()));
        // Ends with a failure if something is to be done.
        read(state.ours(Network::Loopback, &["plan", "--exit-code", "j00001"]))
            .context("what is published is wrong")?;
        Ok(state)
    }

    fn ours(&self, network: Network, args: &[&str]) -> Command {
        let (mut command, address) = (ours(self.tree.path(), args), self.registry.address(network));
        command.env("JOBS_REGISTRY", address).env("JOBS_MIRRORS", format!("docker.io={address}"));
        command
    }

    /// Asks for the indexes of all jobs.
    fn curl(&self, network: Network) -> anyhow::Result<Command> {
        let address = self.registry.address(network);
        let mut config = "header = \"Accept: application/vnd.oci.image.index.v1+json\"\n".to_owned();
        for job in self.tree.jobs() {
            config += &format!("url = \"http://{address}/v2/jobs/{job}/manifests/{}\"\noutput = /dev/null\n", self.tag);
        }
        let path = self.tree.path().join("target").join(format!("curl-{}", network.name()));
        std::fs::create_dir_all(path.with_file_name("")).context("could not make a folder")?;
        std::fs::write(&path, config).context("could not write curl's configuration")?;
        Ok(peer(self.tree.path(), "curl-manifests.sh", &[&path.to_string_lossy()]))
    }
}

/// Does the same for all, in as many threads as there are processors.
fn side_by_side(jobs: &[Value], work: impl Fn(&Value) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let work = &work;
    std::thread::scope(|scope| {
        let parts = jobs.chunks(jobs.len().div_ceil(threads).max(1));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || part.iter().try_for_each(work))).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
        results.collect()
    })
}

fn measure(
    suite: &Suite,
    state: &State<'_>,
    network: Network,
    before: &mut BTreeMap<(&'static str, Network), f64>,
    section: &mut Section,
) -> anyhow::Result<()> {
    let size = state.tree.jobs().len();
    let mut works = WORKS.to_vec();
    // No registry is asked for the list of the jobs.
    works.retain(|(work, _)| network == Network::Loopback || *work != "discover");
    works.retain(|(work, _)| {
        let expected = before.get(&(*work, network)).copied().unwrap_or_default() * 10.0;
        if expected > LONGEST {
            section.notes.push(format!("Not measured: `{work}` of {size} jobs, {network}; about {expected:.0} s."));
            before.insert((work, network), expected);
        }
        expected <= LONGEST
    });
    let mut ways: Vec<Way<'_>> =
        works.iter().map(|(work, args)| Way::new(work, |_| Ok(vec![state.ours(network, args)]))).collect();
    ways.push(Way::new("git ls-tree", |_| Ok(vec![peer(state.tree.path(), "ls-tree.sh", &[])])));
    ways.push(Way::new("curl", |_| Ok(vec![state.curl(network)?])));
    let measured = in_turns(suite, &format!("scale {size}, {network}"), ways)?;
    let [ours @ .., ls_tree, curl] = &measured[..] else { return Ok(()) };
    for ((work, _), ours) in works.into_iter().zip(ours) {
        before.insert((work, network), ours.wall());
        section.comparisons.push(match work {
            "discover" => Comparison::new(work, size, None, ours).with("git ls-tree -r", ls_tree),
            _ => Comparison::new(work, size, network, ours).with("curl", curl).wants(wanted(work, size, network)),
        });
    }
    Ok(())
}

fn wanted(work: &str, size: usize, network: Network) -> Option<Wanted> {
    let seconds = if network == Network::Loopback { 3.0 } else { 6.0 };
    (work == "plan" && size == SIZES[1]).then_some(Wanted::Seconds(seconds))
}

/// `plan` in a repository with many files, all of which are inputs of a job, without a registry to ask.
fn many_files(suite: &Suite, section: &mut Section) -> anyhow::Result<()> {
    let registry = Registry::start(suite)?;
    let jobs = suite.size(JOBS_WITH_FILES);
    let tree = Tree::new(suite, "files", jobs, "busybox:1.37", Content::Copy)?;
    for job in tree.jobs() {
        tree.write(&format!("jobs/{job}/Dockerfile"), &format!("FROM busybox:1.37\nCOPY jobs/{job}/ /job/\n"))?;
        // One file is there already.
        for number in 1..FILES {
            tree.write(&format!("jobs/{job}/src/{number}.txt"), &format!("{job} {number}\n"))?;
        }
    }
    tree.commit("Add files")?;
    let plan = || {
        let mut command = ours(tree.path(), &["plan"]);
        command.env("JOBS_MIRRORS", format!("docker.io={}", registry.address(Network::Loopback)));
        command
    };
    let ways = vec![
        Way::new("ours", |_| Ok(vec![plan()])),
        Way::new("git ls-tree", |_| Ok(vec![peer(tree.path(), "ls-tree.sh", &[])])),
    ];
    let files = jobs * (FILES + 1);
    let measured: Vec<Measured> = in_turns(suite, &format!("plan of {files} files"), ways)?;
    section.comparisons.push(
        Comparison::new("plan without a registry, files", files, None, &measured[0])
            .with("git ls-tree -r", &measured[1])
            .wants([Wanted::Seconds(2.0), Wanted::Megabytes(150.0)]),
    );
    Ok(())
}
