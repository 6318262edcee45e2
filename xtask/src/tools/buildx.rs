//! buildx: building, and making an index.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Map, Value, json};
use xshell::{Cmd, Shell, cmd};

use super::process::{self, Limit, Options};
use super::registry::unreachable;
use crate::model::{Descriptor, Image, Output, Provenance, Reference};
use crate::run::{Context, retry};

/// How an image is pushed. With Docker's media types, `imagetools create` drops the index's annotations without a word.
/// And what is pushed need not fill the engine's own image store too.
const PUSHED: &str = "type=image,oci-mediatypes=true,store=false";

/// Has buildx tell of its progress in JSON. As a flag it would be part of the commands that people are shown, and
/// nobody who pastes one wants to read that.
const PROGRESS: (&str, &str) = ("BUILDKIT_PROGRESS", "rawjson");

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
    let ssh = image.ssh.iter().flat_map(|id| ["--ssh", id]);
    let context = if image.files.context.as_str().is_empty() { "." } else { image.files.context.as_str() };
    let stage = image.stage.iter().flat_map(|stage| ["--target", stage]);
    let builder = image.builder.iter().flat_map(|builder| ["--builder", builder]);
    let sbom = image.sbom.then_some("--sbom=true");
    let from = image.cache_from.iter().flat_map(|from| ["--cache-from", from]);
    let cache = from.chain(image.cache_to.iter().flat_map(|to| ["--cache-to", to]));
    let no_cache = image.no_cache.then_some("--no-cache");
    let provenance = match image.provenance {
        Some(Provenance::Min) => "--provenance=mode=min",
        Some(Provenance::Max) => "--provenance=mode=max",
        Some(Provenance::Off) | None => "--provenance=false",
    };
    let output: &[&str] = match image.output {
        Output::Push => &["--output", PUSHED, "--push"],
        Output::Load => &["--load"],
    };
    cmd!(
        sh,
        "docker buildx build {builder...} --platform {platform} -t {reference} -f {dockerfile} {stage...} {args...}
            {secrets...} {ssh...} {contexts...} {labels...} {provenance} {sbom...} {cache...} {output...} {no_cache...}
            --metadata-file {metadata_file} {context}"
    )
    .env(PROGRESS.0, PROGRESS.1)
}

/// The command that builds what [`bake_file`] says, side by side. It does what [`build`] does for each, in two thirds
/// of the time; but if one fails, it gives all of them up.
pub fn bake<'a>(sh: &'a Shell, file: &Utf8Path, builder: Option<&str>) -> Cmd<'a> {
    let builder = builder.iter().flat_map(|builder| ["--builder", builder]);
    let metadata_file = file.with_extension("metadata.json");
    cmd!(sh, "docker buildx bake {builder...} -f {file} --metadata-file {metadata_file}").env(PROGRESS.0, PROGRESS.1)
}

/// The images as targets of a [bake file](https://docs.docker.com/build/bake/reference/), by these names.
pub fn bake_file(targets: &[(String, &Image)]) -> String {
    let names: Vec<&String> = targets.iter().map(|(name, _)| name).collect();
    let targets: Map<String, Value> = targets.iter().map(|(name, image)| (name.clone(), target(image))).collect();
    json!({ "group": { "default": { "targets": names } }, "target": targets }).to_string()
}

fn target(image: &Image) -> Value {
    let literals = |map: &BTreeMap<String, String>| -> Map<String, Value> {
        map.iter().map(|(key, value)| (key.clone(), Value::from(literal(value)))).collect()
    };
    let provenance = match image.provenance {
        Some(Provenance::Min) => "type=provenance,mode=min",
        Some(Provenance::Max) => "type=provenance,mode=max",
        Some(Provenance::Off) | None => "type=provenance,disabled=true",
    };
    let output = match image.output {
        Output::Push => format!("{PUSHED},push=true"),
        Output::Load => "type=docker".to_owned(),
    };
    let attest: Vec<&str> = std::iter::once(provenance).chain(image.sbom.then_some("type=sbom")).collect();
    // A bake file names the Dockerfile from the context.
    let context = &image.files.context;
    let to_root = "../".repeat(context.components().count());
    json!({
        "context": if to_root.is_empty() { ".".to_owned() } else { literal(context.as_str()) },
        "dockerfile": literal(&format!("{to_root}{}", image.dockerfile)),
        "target": image.stage.as_deref().map(literal),
        "platforms": [image.arch.platform()],
        "tags": [image.reference.to_string()],
        "args": literals(&image.args),
        "contexts": literals(&image.contexts),
        "labels": literals(&image.labels),
        "attest": attest,
        "cache-from": image.cache_from.iter().map(|from| literal(from)).collect::<Vec<_>>(),
        "cache-to": image.cache_to.iter().map(|to| literal(to)).collect::<Vec<_>>(),
        "no-cache": image.no_cache,
        "output": [output],
    })
}

/// A text in a bake file, where `${…}` and `%{…}` are templates.
fn literal(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// The command that makes an index of these entries under each of the tags, which are of the entries' repository. It
/// copies what it is given, and checks nothing. buildx takes an entry as it is, and asks the registry 26 times for two
/// images with attestations; given the digest of an index that lists the same, it asks 84 times.
pub fn create<'a>(
    sh: &'a Shell,
    targets: &[Reference],
    sources: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Cmd<'a> {
    let targets = targets.iter().flat_map(|target| ["-t".to_owned(), target.to_string()]);
    let annotations = annotations.iter().flat_map(|(k, v)| ["--annotation".to_owned(), format!("index:{k}={v}")]);
    let sources = sources.iter().map(Descriptor::to_string);
    cmd!(sh, "docker buildx imagetools create --progress plain {targets...} {annotations...} {sources...}")
}

/// The command that copies an index, with all that it lists, under each of the tags: the same bytes, the same digest.
pub fn copy<'a>(sh: &'a Shell, targets: &[Reference], source: &Reference) -> Cmd<'a> {
    let targets = targets.iter().flat_map(|target| ["-t".to_owned(), target.to_string()]);
    let source = source.to_string();
    cmd!(sh, "docker buildx imagetools create --progress plain {targets...} {source}")
}

/// Runs a command that writes to a registry, and again where the registry was only busy.
///
/// # Errors
/// The registry refuses, or is still busy when it was tried often enough.
pub fn write(ctx: &Context, what: &str, cmd: impl Fn(&Shell) -> Cmd<'_>) -> anyhow::Result<()> {
    retry(ctx, what, || {
        let outcome = process::run(ctx, &cmd, &Options { limit: Limit::Write, ..Options::default() })?;
        if outcome.success() { Ok(()) } else { Err(unreachable(what, &outcome.reason())) }
    })?;
    ctx.ui.detail("Written", what);
    Ok(())
}

/// The variables of a Go program that runs for a second: it ends before collecting garbage is worth the time, unless it
/// holds much, such as a large build context. And nothing reads the provenance that it would copy from the registry
/// into its metadata file. For 30 small builds this is 3.5 s of CPU time instead of 4.5.
const QUICK: [(&str, &str); 3] =
    [("GOGC", "off"), ("GOMEMLIMIT", "256MiB"), ("BUILDX_METADATA_PROVENANCE", "disabled")];

/// Starts `docker buildx …` as the plugin that docker would start: the same program with the same arguments, without
/// docker's search for plugins, which takes as long as a small build.
pub fn as_plugin(ctx: &Context, command: Command) -> Command {
    let mut args = command.get_args();
    let is_buildx = command.get_program() == "docker" && args.next().is_some_and(|arg| arg == "buildx");
    let Some(plugin) = is_buildx.then(|| plugin(ctx)).flatten() else { return command };
    let mut direct = Command::new(plugin);
    direct.args(args);
    process::take_surroundings(&mut direct, &command);
    direct.envs(QUICK.into_iter().filter(|(name, _)| ctx.env.get(name).is_none()));
    direct
}

/// The plugin, from the first of docker's places that has it. A `docker` that is a script is somebody's wrapper, and is
/// left to do its part; so is one that is configured to look elsewhere.
fn plugin(ctx: &Context) -> Option<Utf8PathBuf> {
    let mut docker = File::open(process::find_program(ctx, OsStr::new("docker"))?).ok()?;
    let mut start = [0; 2];
    docker.read_exact(&mut start).ok().filter(|()| &start != b"#!")?;
    let home = ctx.env.get("HOME").map(|home| format!("{home}/.docker"));
    let own = ctx.env.get("DOCKER_CONFIG").map(str::to_owned).or(home);
    let config = own.iter().find_map(|dir| std::fs::read_to_string(format!("{dir}/config.json")).ok());
    if config.is_some_and(|config| config.contains("\"cliPluginsExtraDirs\"")) {
        return None;
    }
    let system = ["/usr/local/lib/docker", "/usr/local/libexec/docker", "/usr/lib/docker", "/usr/libexec/docker"];
    let dirs = own.into_iter().chain(system.map(str::to_owned));
    dirs.map(|dir| Utf8PathBuf::from(dir).join("cli-plugins/docker-buildx")).find(|path| path.is_file())
}
