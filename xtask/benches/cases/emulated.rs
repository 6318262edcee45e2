//! What an emulated build costs, as the reason for a runner of each architecture.

use crate::measure::{Way, in_turns};
use crate::registry::{Network, Registry, base};
use crate::report::{Section, seconds};
use crate::suite::{OTHER_ARCH, OWN_ARCH, Suite, peer};
use crate::tree::{Content, Tree};

/// Work that stands for a compiler's: programs that compute, and a shell that starts many small ones.
const COMPUTE: &str = r#"RUN head -c 24000000 /dev/zero | sha256sum \
 && awk 'BEGIN { for (i = 0; i < 700000; i++) sum += i % 7; print sum }' \
 && i=0 && while [ $i -lt 75 ]; do i=$((i + 1)); /bin/true; done"#;

pub fn run(suite: &Suite) -> anyhow::Result<Section> {
    let registry = Registry::start(suite)?;
    let base = base(registry.address(Network::Loopback));
    let tree = Tree::new(suite, "emulated", 1, &base, Content::Copy)?;
    tree.write("jobs/compute/Dockerfile", &format!("FROM {base}\n{COMPUTE}\n"))?;
    tree.write("jobs/copy/Dockerfile", &format!("FROM {base}\nCOPY jobs/j00001/data.txt /data.txt\n"))?;
    let mut rows = vec![["build without cache", OWN_ARCH, OTHER_ARCH, "ratio"].map(str::to_owned).to_vec()];
    let mut section = Section::default();
    for (job, work) in [("compute", "computes for a while"), ("copy", "copies one file")] {
        let build = |arch: &str| peer(tree.path(), "build-uncached.sh", &[job, arch]);
        // The first build of an architecture fetches the base.
        let warm = |arch: &str| crate::suite::read(peer(tree.path(), "build-uncached.sh", &["copy", arch])).map(drop);
        [OWN_ARCH, OTHER_ARCH].into_iter().try_for_each(warm)?;
        let ways = vec![
            Way::new(OWN_ARCH, |_| Ok(vec![build(OWN_ARCH)])),
            Way::new(OTHER_ARCH, |_| Ok(vec![build(OTHER_ARCH)])),
        ];
        let measured = in_turns(suite, &format!("emulated, {job}"), ways)?;
        let (native, emulated) = (measured[0].wall(), measured[1].wall());
        rows.push(vec![work.to_owned(), seconds(native), seconds(emulated), format!("{:.1}×", emulated / native)]);
        section.samples.extend(measured);
    }
    section.others.push(rows);
    section.notes.push(format!("This machine is {OWN_ARCH}; {OTHER_ARCH} is emulated by QEMU."));
    Ok(section)
}
