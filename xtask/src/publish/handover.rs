//! The hand-over: what was published, as data for whatever deploys it.

use serde_json::{Value, json};

use super::merge::Merged;
use crate::model::{Digest, Exit, Problem, Reference};
use crate::run::{set_output, too_long_for_output, write_file};
use crate::settings::Run;

/// The version of the file's form: another one where a field goes, or means something else.
const VERSION: u32 = 1;

/// Writes `target/xtask/images.json`, and the outputs `images` and `images-file` of a step in GitHub Actions.
/// A job comes with all places where it is published, the run's own first.
///
/// # Errors
/// The file cannot be written, or a registry cannot be asked for a `key-…`.
pub fn hand_over(run: &Run, jobs: &[Vec<Merged>]) -> anyhow::Result<()> {
    let jobs = with_keys(run, jobs)?;
    let path = run.ctx.own_path("images.json");
    let images: Vec<Value> = jobs.iter().map(|places| entry(places)).collect();
    let file = json!({ "version": VERSION, "images": images });
    write_file(&run.ctx, &path, format!("{file:#}\n").as_bytes())?;
    let output = Value::from_iter(images.into_iter().map(without_registry)).to_string();
    let fits = too_long_for_output(&output).is_none();
    set_output(&run.ctx, "images", if fits { &output } else { "" })?;
    set_output(&run.ctx, "images-file", run.ctx.shown(&path).as_str())
}

/// The same, sorted, with what each job's `key-…` points to where that is not known yet: an index that was published
/// before a base moved has another key than the job has now.
fn with_keys(run: &Run, jobs: &[Vec<Merged>]) -> anyhow::Result<Vec<Vec<Merged>>> {
    let mut jobs = jobs.to_vec();
    jobs.sort_by(|a, b| a[0].expected.job.cmp(&b[0].expected.job));
    let open = |places: &&mut Vec<Merged>| places[0].keyed.is_none() && places[0].index.key().is_some();
    let mut open: Vec<&mut Vec<Merged>> = jobs.iter_mut().filter(open).collect();
    let key = |places: &&mut Vec<Merged>| -> Result<Reference, Problem> {
        let tag = format!("key-{}", places[0].index.key().unwrap_or_default()).parse()?;
        Ok(places[0].reference.repository.with_tag(&tag))
    };
    let keys: Result<Vec<Reference>, Problem> = open.iter().map(key).collect();
    let keys = keys.map_err(|problem| problem.exit(Exit::Refused))?;
    for (places, index) in open.iter_mut().zip(run.client.indexes(&run.ctx, &keys)?) {
        places[0].keyed = index?.map(|index| index.digest);
    }
    Ok(jobs)
}

fn entry(places: &[Merged]) -> Value {
    let Merged { expected, reference, index, keyed } = &places[0];
    let platforms: Vec<&str> = index.images.iter().map(|image| image.platform.as_str()).collect();
    let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string);
    let copy = |copy: &Merged| {
        let repository = copy.reference.repository.to_string();
        json!({ "repository": repository, "key-digest": text(&copy.keyed) })
    };
    let built_from = index.built_from();
    json!({
        "job": expected.job.to_string(),
        "commit": expected.revision.as_ref().map(ToString::to_string),
        "repository": reference.repository.to_string(),
        "tag": expected.tag.to_string(),
        "digest": index.digest.to_string(),
        "platforms": platforms,
        "key": index.key(),
        "key-digest": text(keyed),
        // Whether an image was built for this commit.
        "changed": built_from.is_some() && built_from == index.revision(),
        "built-from": built_from.map(|revision| revision.to_string()),
        "copies": places[1..].iter().map(copy).collect::<Vec<_>>(),
    })
}

/// GitHub silently drops an output that holds a masked value, as a registry's host or an account number may be.
fn without_registry(mut entry: Value) -> Value {
    if let Some(fields) = entry.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "repository" | "copies"));
    }
    entry
}
