//! buildx: building, looking at what a registry holds, and making an index.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Options, Outcome};
use crate::model::{Digest, Exit, Image, Index, Manifest, Output, Problem, Provenance, Reference, Repository};
use crate::run::{Context, fleet};

/// The command of a build: what `--dry-run` prints and what runs.
pub fn build<'a>(sh: &'a Shell, image: &Image) -> Cmd<'a> {
    let Image { dockerfile, metadata_file, .. } = image;
    let (platform, reference) = (image.arch.platform(), image.reference.to_string());
    let pairs = |flag: &str, map: &BTreeMap<String, String>| -> Vec<String> {
        map.iter().flat_map(|(key, value)| [flag.to_owned(), format!("{key}={value}")]).collect()
    };
    let contexts = pairs("--build-context", &image.contexts);
    let args = pairs("--build-arg", &image.args);
    let labels = pairs("--label", &image.labels);
    let secrets = image.secrets.iter().flat_map(|(id, var)| ["--secret".to_owned(), format!("id={id},env={var}")]);
    let stage = image.stage.iter().flat_map(|stage| ["--target", stage]);
    let builder = image.builder.iter().flat_map(|builder| ["--builder", builder]);
    let sbom = image.sbom.then_some("--sbom=true");
    let cache = image.cache.iter().flat_map(|[from, to]| ["--cache-from", from, "--cache-to", to]);
    let no_cache = image.no_cache.then_some("--no-cache");
    let provenance = match image.provenance {
        Some(Provenance::Min) => "--provenance=mode=min",
        Some(Provenance::Max) => "--provenance=mode=max",
        Some(Provenance::Off) | None => "--provenance=false",
    };
    // With Docker's media types, `imagetools create` drops the index's annotations without a word.
    // What is pushed need not fill the engine's own image store too.
    let output: &[&str] = match image.output {
        Output::Push => &["--output", "type=image,oci-mediatypes=true,store=false", "--push"],
        Output::Load => &["--load"],
    };
    cmd!(
        sh,
        "docker buildx build {builder...} --platform {platform} -t {reference} -f {dockerfile} {stage...} {args...}
            {secrets...} {contexts...} {labels...} {provenance} {sbom...} {cache...} {output...} {no_cache...}
            --metadata-file {metadata_file} --progress plain ."
    )
}

/// The command that makes an index out of manifests, or gives one another tag: it copies what it is given, and checks
/// nothing.
pub fn create<'a>(
    sh: &'a Shell,
    target: &Reference,
    sources: &[Reference],
    annotations: &BTreeMap<String, String>,
) -> Cmd<'a> {
    let target = target.to_string();
    let annotations = annotations.iter().flat_map(|(k, v)| ["--annotation".to_owned(), format!("index:{k}={v}")]);
    let sources = sources.iter().map(Reference::to_string);
    cmd!(sh, "docker buildx imagetools create --progress plain -t {target} {annotations...} {sources...}")
}

/// Runs a command that writes to a registry, and again where the registry was only busy.
///
/// # Errors
/// The registry refuses, or is still busy after four attempts.
pub fn write(ctx: &Context, what: &str, cmd: impl Fn(&Shell) -> Cmd<'_>) -> anyhow::Result<()> {
    fleet::retry(ctx, what, || {
        let outcome = process::run(ctx, &cmd, &Options::default())?;
        if outcome.success() { Ok(()) } else { Err(unreachable_or(what, &outcome)) }
    })
}

/// The buildx plugin that docker would start, from the first of docker's places that has it.
fn plugin(ctx: &Context) -> Option<String> {
    let home = ctx.env.get("HOME").map(|home| format!("{home}/.docker"));
    let own = ctx.env.get("DOCKER_CONFIG").map(str::to_owned).or(home).map(|dir| format!("{dir}/cli-plugins"));
    let system = ["/usr/local/lib/docker", "/usr/local/libexec/docker", "/usr/lib/docker", "/usr/libexec/docker"];
    let dirs = own.into_iter().chain(system.iter().map(|dir| format!("{dir}/cli-plugins")));
    dirs.map(|dir| format!("{dir}/docker-buildx")).find(|path| std::path::Path::new(path).is_file())
}

/// How long a registry may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a reference points to; `None` if the registry says that it is not there.
///
/// # Errors
/// The registry cannot be reached or refuses: that is not the same as absent.
pub fn inspect(ctx: &Context, reference: &Reference) -> anyhow::Result<Option<Index>> {
    let shown = reference.to_string();
    fleet::retry(ctx, &shown, || {
        let format = "{{json .}}";
        // The plugin by itself is the same program, and half the work: a plan looks at hundreds of references.
        let (program, buildx) = plugin(ctx).map_or(("docker".to_owned(), Some("buildx")), |plugin| (plugin, None));
        let given = Options { deadline: Some(TIMEOUT), ..Options::default() };
        let outcome = process::run(
            ctx,
            |sh| cmd!(sh, "{program} {buildx...} imagetools inspect {shown} --format {format}"),
            &given,
        )?;
        // The last word of buildx on a 404, for a tag and a repository; `could not resolve host: not found` is another.
        let is_absent = outcome.stderr.trim_end().ends_with(&format!("{shown}: not found"));
        match outcome.success() {
            true => parse_inspected(&outcome.stdout()).map(Some),
            false if is_absent => Ok(None),
            false => Err(unreachable_or(&shown, &outcome)),
        }
    })
}

/// The complaint about a registry that did not do what it was asked, with the remedy where its words are known.
fn unreachable_or(at: &str, outcome: &Outcome) -> anyhow::Error {
    let said = outcome.reason();
    let problem = Problem::new(at, &said);
    if said.contains("immutable") {
        return problem.rule("the repository's tags never change").exit(Exit::Refused);
    }
    match crate::run::help_for(&said) {
        Some(help) => problem.help(help).exit(Exit::Missing),
        None => problem.help("is the registry's address right, and can it be reached from here?").exit(Exit::Missing),
    }
}

/// The bytes that a node pulls for one image: its layers and its configuration.
pub fn pull_size(ctx: &Context, manifest: &Reference) -> anyhow::Result<u64> {
    let manifest = raw(ctx, manifest)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    Ok(layers.chain([&manifest["config"]]).filter_map(|blob| blob["size"].as_u64()).sum())
}

/// The `ONBUILD` instructions of an image, which only its raw configuration tells: they are Docker's, and not of OCI.
///
/// # Errors
/// The registry cannot be reached, or gives something else.
pub fn on_build(ctx: &Context, repository: &Repository, manifest: &Digest) -> anyhow::Result<Vec<String>> {
    let manifest = raw(ctx, &repository.with_digest(manifest))?;
    let digest: Digest = text(&manifest["config"]["digest"]).parse()?;
    let config = raw(ctx, &repository.with_digest(&digest))?;
    let instructions = config["config"]["OnBuild"].as_array().into_iter().flatten();
    Ok(instructions.map(|instruction| text(instruction).to_owned()).collect())
}

/// A manifest or a configuration as the registry holds it.
fn raw(ctx: &Context, reference: &Reference) -> anyhow::Result<Value> {
    let (shown, options) = (reference.to_string(), Options::default());
    let text = process::read(ctx, |sh| cmd!(sh, "docker buildx imagetools inspect --raw {shown}"), &options)?;
    serde_json::from_str(&text).with_context(|| format!("{reference}: the registry gave something else"))
}

/// Reads what `imagetools inspect --format '{{json .}}'` prints: `.image` is one image's configuration,
/// or, if there are several, a map of them by platform.
fn parse_inspected(json: &str) -> anyhow::Result<Index> {
    let inspected: Value = serde_json::from_str(json)?;
    let (index, configs) = (&inspected["manifest"], &inspected["image"]);
    let single = configs.get("architecture").is_some();
    let digest: Digest = text(&index["digest"]).parse()?;
    let annotations = map(&index["annotations"]);
    let mut found = Index { digest: digest.clone(), images: Vec::new(), attestations: BTreeMap::new(), annotations };
    let Some(entries) = index["manifests"].as_array() else {
        let image = manifest(digest, None, configs);
        found.images.push(Manifest { declared: Some(image.platform.clone()), ..image });
        return Ok(found);
    };
    for entry in entries {
        let digest = text(&entry["digest"]).parse()?;
        let about = map(&entry["annotations"]);
        if about.contains_key("vnd.docker.reference.type") {
            let subject = about.get("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok());
            found.attestations.insert(digest, subject);
            continue;
        }
        let declared = entry.get("platform").map(platform);
        let config = if single { configs } else { &configs[declared.as_deref().unwrap_or_default()] };
        found.images.push(manifest(digest, declared, config));
    }
    Ok(found)
}

fn manifest(digest: Digest, declared: Option<String>, config: &Value) -> Manifest {
    let is_known = config.get("architecture").is_some();
    let own = format!("{}/{}", text(&config["os"]), text(&config["architecture"]));
    Manifest {
        digest,
        declared,
        platform: if is_known { own } else { "an unknown platform".to_owned() },
        labels: map(&config["config"]["Labels"]),
    }
}

/// `linux/arm64`, with the variant if there is one.
fn platform(platform: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|key| text(&platform[key]));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), text(value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_with_an_attestation_is_read() {
        let (image, proof) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let json = format!(
            r#"{{"manifest": {{"digest": "{proof}", "size": 9, "annotations": {{"k": "v"}}, "manifests": [
                {{"digest": "{image}", "size": 7, "platform": {{"architecture": "arm64", "os": "linux", "variant": "v8"}}}},
                {{"digest": "{proof}", "platform": {{"architecture": "unknown", "os": "unknown"}}, "annotations":
                  {{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "{image}"}}}}]}},
               "image": {{"architecture": "arm64", "os": "linux", "config": {{"Labels": {{"a": "b"}}}}}}}}"#
        );
        let published = parse_inspected(&json).unwrap();
        assert_eq!(published.annotations["k"], "v");
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(
            published.images,
            [Manifest {
                digest: image.parse().unwrap(),
                declared: Some("linux/arm64/v8".to_owned()),
                platform: "linux/arm64".to_owned(),
                labels,
            }]
        );
        assert_eq!(published.attestations, BTreeMap::from([(proof.parse().unwrap(), image.parse().ok())]));
    }
}
