//! buildx: building, looking at what a registry holds, and making an index.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Given, Outcome};
use super::registry;
use crate::cli::Provenance;
use crate::model::arch::{Arch, Platform};
use crate::model::problem::Problem;
use crate::model::reference::{Digest, Reference};
use crate::publish::gate::{Content, Manifest, Published};
use crate::run::context::Context;
use crate::run::fleet;

/// One `docker buildx build`, with everything that decides its result.
#[derive(Clone, Debug)]
pub struct Build {
    pub arch: Arch,
    pub reference: Reference,
    pub dockerfile: String,
    pub stage: Option<String>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Name in the Dockerfile -> `docker-image://…@sha256:…`.
    pub contexts: BTreeMap<String, String>,
    /// `id` and environment variable of what the build may mount.
    pub secrets: Vec<(String, String)>,
    pub output: Output,
    pub provenance: Option<Provenance>,
    pub sbom: bool,
    /// Where layers are taken from and kept: `--cache-from` and `--cache-to`.
    pub cache: Option<(String, String)>,
    pub builder: Option<String>,
    pub no_cache: bool,
    /// Where buildx writes the digest of what it made.
    pub metadata_file: String,
}

/// Where the image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Push,
    Load,
}

/// The command of a build: what `--dry-run` prints and what runs.
pub fn build<'a>(sh: &'a Shell, build: &Build) -> Cmd<'a> {
    let platform = Platform::from(build.arch).to_string();
    let (reference, dockerfile) = (build.reference.to_string(), &build.dockerfile);
    let metadata_file = &build.metadata_file;
    let pairs = |flag: &str, map: &BTreeMap<String, String>| -> Vec<String> {
        map.iter().flat_map(|(key, value)| [flag.to_owned(), format!("{key}={value}")]).collect()
    };
    let contexts = pairs("--build-context", &build.contexts);
    let args = pairs("--build-arg", &build.args);
    let labels = pairs("--label", &build.labels);
    let secrets = build.secrets.iter().flat_map(|(id, var)| ["--secret".to_owned(), format!("id={id},env={var}")]);
    let stage = build.stage.iter().flat_map(|stage| ["--target", stage]);
    let builder = build.builder.iter().flat_map(|builder| ["--builder", builder]);
    let sbom = build.sbom.then_some("--sbom=true");
    let cache = build.cache.iter().flat_map(|(from, to)| ["--cache-from", from, "--cache-to", to]);
    let no_cache = build.no_cache.then_some("--no-cache");
    let provenance = match build.provenance {
        Some(Provenance::Min) => "--provenance=mode=min",
        Some(Provenance::Max) => "--provenance=mode=max",
        Some(Provenance::Off) | None => "--provenance=false",
    };
    // With Docker's media types, `imagetools create` drops the index's annotations without a word.
    // What is pushed need not fill the engine's own image store too.
    let output: &[&str] = match build.output {
        Output::Push => &["--output", "type=image,oci-mediatypes=true,store=false", "--push"],
        Output::Load => &["--load"],
    };
    cmd!(
        sh,
        "docker buildx build {builder...} --platform {platform} -t {reference} -f {dockerfile} {stage...} {args...}
            {secrets...} {contexts...} {labels...} {provenance} {sbom...} {cache...} {output...} {no_cache...} --metadata-file {metadata_file} --progress plain ."
    )
}

/// Builds and pushes a base image of several architectures from a folder; it runs nothing, so nothing is emulated.
pub fn build_base(ctx: &Context, context: &Utf8PathBuf, reference: &Reference, arches: &[Arch]) -> anyhow::Result<()> {
    let sh = ctx.shell()?;
    let platforms: Vec<String> = arches.iter().map(|&arch| Platform::from(arch).to_string()).collect();
    let (platforms, reference) = (platforms.join(","), reference.to_string());
    let output = "type=image,oci-mediatypes=true,store=false";
    let cmd = cmd!(
        sh,
        "docker buildx build --platform {platforms} -t {reference} --output {output} --push --provenance=false
            --progress plain {context}"
    );
    process::run(ctx, cmd, &Given::default())?.read().map(drop)
}

/// The digest that buildx noted of what it pushed.
pub fn digest(ctx: &Context, build: &Build) -> Option<Digest> {
    let text = std::fs::read_to_string(ctx.root.join(&build.metadata_file)).ok()?;
    let metadata: serde_json::Value = serde_json::from_str(&text).ok()?;
    metadata.get("containerimage.digest")?.as_str()?.parse().ok()
}

/// The command that makes an index out of manifests, or gives one another tag: it copies what it is given, and checks nothing.
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

/// Runs a command that writes to a registry, if there is one, and again where the registry was only busy.
///
/// # Errors
/// The registry refuses, or is still busy after four attempts.
pub fn write(ctx: &Context, what: &str, cmd: impl Fn(&Shell) -> Option<Cmd<'_>>) -> anyhow::Result<()> {
    let attempt = || -> anyhow::Result<Result<(), Outcome>> {
        let sh = ctx.shell()?;
        let Some(cmd) = cmd(&sh) else { return Ok(Ok(())) };
        let outcome = process::run(ctx, cmd, &Given::default())?;
        Ok(if outcome.success() { Ok(()) } else { Err(outcome) })
    };
    let classify = |error: &WriteError| match error {
        WriteError::Refused(outcome) => fleet::failing(&outcome.stderr),
        WriteError::Other(_) => fleet::Failing::ForGood,
    };
    let result = fleet::retry(ctx, what, classify, || match attempt() {
        Ok(result) => result.map_err(WriteError::Refused),
        Err(error) => Err(WriteError::Other(error)),
    });
    result.map_err(|error| match error {
        WriteError::Refused(outcome) => unreachable_or(what, &outcome),
        WriteError::Other(error) => error,
    })
}

enum WriteError {
    Refused(Outcome),
    Other(anyhow::Error),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteError::Refused(outcome) => f.write_str(&outcome.last_words()),
            WriteError::Other(error) => write!(f, "{error:#}"),
        }
    }
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
const ANSWER: Duration = Duration::from_secs(60);

/// Whether a reference is there: cheaper than [`inspect`].
///
/// # Errors
/// The registry cannot be reached or refuses.
pub fn exists(ctx: &Context, reference: &Reference) -> anyhow::Result<bool> {
    match registry::holds(reference) {
        Some(holds) => Ok(holds),
        None => Ok(inspect(ctx, reference)?.is_some()),
    }
}

/// What a reference points to; `None` if the registry says that it is not there.
///
/// # Errors
/// The registry cannot be reached or refuses: that is not the same as absent.
pub fn inspect(ctx: &Context, reference: &Reference) -> anyhow::Result<Option<Published>> {
    if registry::holds(reference) == Some(false) {
        return Ok(None);
    }
    let shown = reference.to_string();
    let look = || -> anyhow::Result<Outcome> {
        let sh = ctx.shell()?;
        let format = "{{json .}}";
        // The plugin by itself is the same program, and half the work: a plan looks at hundreds of references.
        let cmd = match plugin(ctx) {
            Some(plugin) => cmd!(sh, "{plugin} imagetools inspect {shown} --format {format}"),
            None => cmd!(sh, "docker buildx imagetools inspect {shown} --format {format}"),
        };
        process::run(ctx, cmd, &Given { deadline: Some(ANSWER), ..Given::default() })
    };
    let mut outcome = look()?;
    if !outcome.success() && fleet::failing(&outcome.stderr) == fleet::Failing::ForNow {
        outcome = look()?;
    }
    if outcome.success() {
        return parse_inspected(&outcome.stdout).map(Some);
    }
    // The last word of buildx on a 404, for a tag and for a repository; `could not resolve host: not found` is another.
    if outcome.stderr.trim_end().ends_with(&format!("{shown}: not found")) {
        return Ok(None);
    }
    Err(unreachable_or(&shown, &outcome))
}

/// The complaint about a registry that did not do what it was asked, with the remedy where its words are known.
fn unreachable_or(at: &str, outcome: &Outcome) -> anyhow::Error {
    let said = outcome.last_words();
    let problem = Problem::new(at, if said.is_empty() { outcome.complaint() } else { said.clone() });
    if said.contains("immutable") {
        return problem.rule("the repository's tags never change").refused();
    }
    match crate::run::hints::help_for(&said) {
        Some(help) => problem.help(help).missing(),
        None => problem.help("is the registry's address right, and can it be reached from here?").missing(),
    }
}

/// The bytes that a node pulls for one image: its layers and its configuration.
pub fn pull_size(ctx: &Context, manifest: &Reference) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Sized {
        size: u64,
    }
    #[derive(Deserialize)]
    struct Raw {
        config: Sized,
        layers: Vec<Sized>,
    }
    let sh = ctx.shell()?;
    let shown = manifest.to_string();
    let raw: Raw =
        serde_json::from_str(&process::read(ctx, cmd!(sh, "docker buildx imagetools inspect --raw {shown}"))?)?;
    Ok(raw.config.size + raw.layers.iter().map(|layer| layer.size).sum::<u64>())
}

#[derive(Deserialize)]
struct InspectedJson {
    manifest: ManifestJson,
    #[serde(default)]
    image: serde_json::Value,
}

#[derive(Deserialize)]
struct ManifestJson {
    digest: String,
    #[serde(default)]
    size: u64,
    manifests: Option<Vec<EntryJson>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct EntryJson {
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<PlatformJson>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct PlatformJson {
    architecture: String,
    os: String,
    #[serde(default)]
    variant: String,
}

impl PlatformJson {
    fn shown(&self) -> String {
        let variant = if self.variant.is_empty() { String::new() } else { format!("/{}", self.variant) };
        format!("{}/{}{variant}", self.os, self.architecture)
    }
}

#[derive(Deserialize)]
struct ImageJson {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: ImageConfigJson,
}

#[derive(Deserialize, Default)]
struct ImageConfigJson {
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "OnBuild", default)]
    on_build: Option<Vec<String>>,
}

/// Reads what `imagetools inspect --format '{{json .}}'` prints: `.image` is one image's configuration,
/// or, if there are several, a map of them by platform.
fn parse_inspected(json: &str) -> anyhow::Result<Published> {
    let inspected: InspectedJson = serde_json::from_str(json)?;
    let single = inspected.image.get("architecture").is_some();
    let config_of = |platform: Option<&str>| -> Content {
        let value = if single { Some(&inspected.image) } else { platform.and_then(|p| inspected.image.get(p)) };
        let image = value.and_then(|value| serde_json::from_value::<ImageJson>(value.clone()).ok());
        match image {
            Some(image) => Content::Image {
                platform: format!("{}/{}", image.os, image.architecture),
                labels: image.config.labels.unwrap_or_default(),
                triggers: image.config.on_build.is_some_and(|instructions| !instructions.is_empty()),
            },
            None => {
                Content::Image { platform: "an unknown platform".to_owned(), labels: BTreeMap::new(), triggers: false }
            }
        }
    };
    let digest: Digest = inspected.manifest.digest.parse()?;
    let Some(entries) = inspected.manifest.manifests else {
        let content = config_of(None);
        let platform = match &content {
            Content::Image { platform, .. } => Some(platform.clone()),
            Content::AttestationOf(_) => None,
        };
        let manifest = Manifest { digest: digest.clone(), size: inspected.manifest.size, platform, content };
        return Ok(Published { digest, manifests: vec![manifest], annotations: BTreeMap::new() });
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let platform = entry.platform.as_ref().map(PlatformJson::shown);
        let content = match entry.annotations.get("vnd.docker.reference.type") {
            Some(_) => Content::AttestationOf(
                entry.annotations.get("vnd.docker.reference.digest").and_then(|digest| digest.parse().ok()),
            ),
            None => config_of(platform.as_deref()),
        };
        manifests.push(Manifest { digest: entry.digest.parse()?, size: entry.size, platform, content });
    }
    Ok(Published { digest, manifests, annotations: inspected.manifest.annotations })
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
        assert_eq!(published.manifests[0].platform.as_deref(), Some("linux/arm64/v8"));
        assert_eq!(
            published.manifests[0].content,
            Content::Image {
                platform: "linux/arm64".to_owned(),
                labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
                triggers: false,
            }
        );
        assert_eq!(published.manifests[1].content, Content::AttestationOf(image.parse().ok()));
    }
}
