//! What `verify --deep` looks at: the files of published images, of every architecture. A configuration says what was
//! asked for, and layers like those of the base say nothing of what lies over them; a program's header does not lie.

use std::collections::{BTreeMap, BTreeSet};

use super::Merged;
use crate::model::{Digest, Exit, Failure, Layer, LayerFiles, Manifest, Problem, Programs};
use crate::run::count;
use crate::run::fleet::Tally;
use crate::settings::Run;

/// Looks into the images of published tags, one tag after the other, as their layers have to be on the disk.
///
/// # Errors
/// What concerns all jobs; a single job's refusal is part of the tally.
pub fn check_programs(run: &Run, published: Vec<Merged>) -> anyhow::Result<Tally<Merged>> {
    let total = published.len();
    // A layer of several images, such as those of their base, is read once.
    let mut known: BTreeMap<Digest, LayerFiles> = BTreeMap::new();
    let mut results = Vec::new();
    for (i, merged) in published.iter().enumerate() {
        results.push(check(run, merged, &mut known).map(|()| merged.clone()));
        let later: BTreeSet<&Digest> = published[i + 1..].iter().flat_map(layers).map(|layer| &layer.digest).collect();
        known.retain(|digest, _| later.contains(digest));
    }
    let tally = Tally::of(results);
    run.ctx.ui.status("Finished", format!("{} of {} without foreign programs", tally.done.len(), count(total, "tag")));
    Ok(tally)
}

fn layers(merged: &Merged) -> impl Iterator<Item = &Layer> {
    merged.index.images.iter().flat_map(|image| &image.layers)
}

fn check(run: &Run, merged: &Merged, known: &mut BTreeMap<Digest, LayerFiles>) -> anyhow::Result<()> {
    let new: BTreeSet<&Layer> = layers(merged).filter(|layer| !known.contains_key(&layer.digest)).collect();
    let new: Vec<Layer> = new.into_iter().cloned().collect();
    known.extend(run.client.read_layers(&run.ctx, &merged.expected.repository, new)?);
    let (mut problems, mut said): (Vec<Problem>, Vec<String>) = (Vec::new(), Vec::new());
    for image in &merged.index.images {
        let programs = programs_of(image, known);
        problems.extend(merged.expected.foreign_programs(image, &programs));
        said.push(format!("{}: {}", image.platform, count(programs.count(), "program")));
    }
    Failure::unless_empty(Exit::Refused, problems)?;
    run.ctx.ui.status("Examined", format!("{} ({})", merged.reference, said.join(", ")));
    Ok(())
}

fn programs_of(image: &Manifest, known: &BTreeMap<Digest, LayerFiles>) -> Programs {
    let mut programs = Programs::default();
    image.layers.iter().filter_map(|layer| known.get(&layer.digest)).for_each(|layer| programs.lay(layer));
    programs
}
