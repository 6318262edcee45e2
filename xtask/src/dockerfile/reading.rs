//! The one walk through a Dockerfile, from which follow the images and the files that a build reads.
//!
//! The rule for every doubt: too much is an input, never too little.

mod defaults;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use super::expand::{NoValue, expand};
use super::{Assignment, Base, BaseRole, ContextPath, Dockerfile, Effect, Fault, Inputs, Stage, Transfer};
use crate::model::Arch;

const PLATFORM_RULE: &str = "an image holds programs of its own architecture, as do the stages that it begins with";
const PLATFORM_HELP: &str = "leave `--platform` out here; tools of the builder's architecture go into a stage that the \
    image does not begin with, and that hands over files by `COPY --from`";

/// Build arguments, by name.
type Arguments = BTreeMap<String, String>;

impl Dockerfile {
    /// The names of its stages, in lower case.
    pub fn stage_names(&self) -> Vec<&str> {
        self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect()
    }

    /// The images that it builds from on any of the architectures, whichever architecture the builder has, sorted by
    /// line, each name once.
    ///
    /// All stages count, also those that the target does not need: which ones it needs is BuildKit's to decide, and an
    /// image more in the key costs nothing, while one less would be left to chance.
    ///
    /// # Errors
    /// Names that cannot be known, or that BuildKit would not take; and `FROM --platform=` where `stage`, or else the
    /// last one, would become an image with the programs of another architecture.
    pub fn bases(&self, args: &Arguments, arches: &[Arch], stage: Option<&str>) -> Result<Vec<Base>, Vec<Fault>> {
        let (mut bases, mut faults) = (Vec::from_iter(self.frontend(args)), Vec::new());
        for reading in self.readings(args, arches).map(Reading::walked) {
            bases.extend(reading.bases);
            faults.extend(reading.faults);
        }
        bases.sort_by_key(|base| base.line);
        let mut seen = BTreeSet::new();
        bases.retain(|base| base.written != "scratch" && seen.insert(base.written.clone()));
        faults.extend(bases.iter().filter_map(|base| self.mistaken_for_a_stage(base)));
        faults.extend(self.foreign_platforms(args, arches, stage));
        faults.sort_by_key(|fault| fault.line);
        faults.dedup();
        if faults.is_empty() { Ok(bases) } else { Err(faults) }
    }

    /// The image that the built stage, `stage` or else the last, begins with in the end, by architecture; none where
    /// that is `scratch`, or where another frontend than Docker's reads the file. There are several where the name
    /// depends on the builder's architecture.
    pub fn first_images(
        &self,
        args: &Arguments,
        arches: &[Arch],
        stage: Option<&str>,
    ) -> BTreeMap<Arch, BTreeSet<String>> {
        let mut images: BTreeMap<Arch, BTreeSet<String>> = BTreeMap::new();
        if self.foreign_frontend(args).is_some() {
            return images;
        }
        for arch in arches {
            for reading in self.readings(args, std::slice::from_ref(arch)) {
                let first = reading.chain(stage).last().and_then(|stage| reading.image_of(stage).ok());
                images.entry(*arch).or_default().extend(first.filter(|image| image != "scratch"));
            }
        }
        images
    }

    /// What it reads of the build context on any of the architectures, whichever architecture the builder has.
    ///
    /// What the `ONBUILD` instructions of a base image read is not in the Dockerfile, so it is not here: see
    /// [`onbuild_inputs`].
    pub fn inputs(&self, args: &Arguments, arches: &[Arch]) -> Inputs {
        if let Some(frontend) = self.foreign_frontend(args) {
            let because = format!("`{}` may read the Dockerfile in its own way", frontend.written);
            return Inputs::Whole { line: frontend.line, because };
        }
        let readings = self.readings(args, arches).map(Reading::walked);
        readings.map(|reading| reading.inputs).fold(Inputs::default(), Inputs::union)
    }

    /// The paths of the build context that have to be there, also where all of the context counts: those that are
    /// named in the stages which `stage`, or else the last, needs. BuildKit leaves out the others.
    pub fn named_sources(&self, args: &Arguments, arches: &[Arch], stage: Option<&str>) -> Inputs {
        let mut sources = BTreeSet::new();
        if self.foreign_frontend(args).is_none() {
            for reading in self.readings(args, arches).map(Reading::walked) {
                let needed = reading.needed(stage);
                sources.extend(needed.into_iter().flat_map(|at| reading.named[at].iter().cloned()));
            }
        }
        Inputs::Sources(sources)
    }

    /// The stages that the built one, `stage` or else the last, begins with, and whose `FROM --platform=` may be
    /// another platform than that of the image: BuildKit writes the wanted platform into the image's configuration
    /// nonetheless.
    fn foreign_platforms(&self, args: &Arguments, arches: &[Arch], stage: Option<&str>) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.stages.iter().all(|stage| stage.platform.is_none()) {
            return faults;
        }
        for reading in self.readings(args, arches) {
            faults.extend(reading.chain(stage).into_iter().filter_map(|stage| reading.foreign_platform(stage)));
        }
        faults.sort_by_key(|fault| fault.line);
        faults.dedup_by_key(|fault| fault.line);
        faults
    }

    /// One for each target and each architecture of the builder; one of all where they are alike.
    fn readings<'a>(&'a self, args: &'a Arguments, arches: &'a [Arch]) -> impl Iterator<Item = Reading<'a>> {
        let targets = arches.iter().flat_map(|target| Arch::ALL.map(|build| (*target, build)));
        let count = if self.names_platforms { usize::MAX } else { 1 };
        targets.take(count).map(|(target, build)| Reading::new(self, args, target, build))
    }

    /// The program that reads the Dockerfile, if one is named: the build argument wins over the directive.
    fn frontend(&self, args: &Arguments) -> Option<Base> {
        let Some(given) = args.get("BUILDKIT_SYNTAX") else { return self.syntax.clone() };
        let image = given.trim().split(' ').next().unwrap_or_default();
        Some(Base { written: image.to_owned(), line: None, role: BaseRole::Frontend })
    }

    /// A frontend that may read the Dockerfile in its own way.
    fn foreign_frontend(&self, args: &Arguments) -> Option<Base> {
        self.frontend(args).filter(|frontend| !is_docker_frontend(&frontend.written))
    }

    /// In `FROM node AS node`, a build context named `node`, by which the base is pinned, replaces the *stage* with all
    /// that it does: BuildKit looks for it under the stage's name first, and takes no tag and `:latest` for the same.
    fn mistaken_for_a_stage(&self, base: &Base) -> Option<Fault> {
        let path = base.written.trim_start_matches("docker.io/").trim_start_matches("library/");
        let familiar = path.trim_end_matches(":latest");
        let stage = self.stages.iter().find(|stage| stage.name.as_deref() == Some(familiar))?;
        let what = format!("the stage `{familiar}` has the name of the image `{}`", base.written);
        let fault =
            Fault::new(stage.line, what).rule("a base is pinned by its name, which would replace the stage too");
        Some(fault.help("rename the stage")).filter(|_| base.role == BaseRole::Image)
    }
}

/// What the `ONBUILD` instructions of a base image, as its configuration lists them, read of the build context: they
/// run as if they stood at the beginning of the stage that builds from it.
pub fn onbuild_inputs(instructions: &[String], args: &BTreeMap<String, String>, arches: &[Arch]) -> Inputs {
    match Dockerfile::parse(&format!("FROM base\n{}\n", instructions.join("\n"))) {
        Ok(file) => file.inputs(args, arches),
        Err(Fault { what: because, .. }) => Inputs::Whole { line: None, because },
    }
}

/// Only Docker's own frontends are sure to read the file as we do.
fn is_docker_frontend(image: &str) -> bool {
    let mut parts = image.rsplit('/');
    let name = parts.next().and_then(|name| name.split([':', '@']).next());
    matches!(name, Some("dockerfile" | "dockerfile-upstream")) && parts.next() == Some("docker")
}

/// What the variables stand for at one place of a Dockerfile.
#[derive(Clone)]
struct Variables {
    /// `None` for a variable that may have any value or none.
    values: BTreeMap<String, Option<String>>,
    /// Whether no other variable has a value. An image from elsewhere brings values that are not known.
    is_complete: bool,
    escape: char,
}

impl Variables {
    /// Those that BuildKit sets; an argument of the same name wins, without any `ARG`.
    fn of_platforms(args: &Arguments, target: Arch, build: Arch, escape: char) -> Variables {
        // It is the name of the stage that is built, which the Dockerfile does not tell.
        let mut values = BTreeMap::from([("TARGETSTAGE".to_owned(), None)]);
        for (side, arch) in [("TARGET", target), ("BUILD", build)] {
            let known = [("PLATFORM", arch.platform()), ("OS", "linux"), ("ARCH", arch.as_str())];
            for (what, value) in known.into_iter().chain([("VARIANT", ""), ("OSVERSION", "")]) {
                let name = format!("{side}{what}");
                let value = args.get(&name).map_or(value, String::as_str).to_owned();
                values.insert(name, Some(value));
            }
        }
        Variables { values, is_complete: true, escape }
    }

    fn unknown(escape: char) -> Variables {
        Variables { values: BTreeMap::new(), is_complete: false, escape }
    }

    fn of_scratch(escape: char) -> Variables {
        // BuildKit gives every image a PATH.
        Variables { values: BTreeMap::from([("PATH".to_owned(), None)]), is_complete: true, escape }
    }

    fn get(&self, name: &str) -> Result<Option<String>, NoValue> {
        match self.values.get(name) {
            Some(Some(value)) => Ok(Some(value.clone())),
            None if self.is_complete => Ok(None),
            _ => Err(NoValue { what: format!("the value of `{name}` is not known here"), is_refused: false }),
        }
    }

    /// The word with its variables replaced.
    fn expand(&self, word: &str) -> Result<String, NoValue> {
        expand(word, self.escape, &mut |name| self.get(name))
    }

    /// `ARG`: a build argument wins over the default, and the default over the `ARG` before the first `FROM`, which is
    /// among `globals`. Without any of them the variable stays what it was.
    fn declare(&mut self, arg: &Assignment, args: &Arguments, globals: Option<&Variables>) -> Result<(), NoValue> {
        let value = match (args.get(&arg.name), &arg.value) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(default)) => self.expand(default).map(Some),
            (None, None) => globals.map_or(Ok(None), |globals| globals.get(&arg.name)),
        };
        if value != Ok(None) {
            self.values.insert(arg.name.clone(), value.clone().unwrap_or(None));
        }
        value.map(drop)
    }

    /// `ENV`: all values of one instruction see the variables from before it. Whether `ENV` or `ARG`, the last one
    /// wins.
    fn set(&mut self, pairs: &[Assignment]) {
        let expanded = |pair: &Assignment| {
            let value = pair.value.as_ref().and_then(|value| self.expand(value).ok());
            (self.expand(&pair.name), value)
        };
        for (name, value) in pairs.iter().map(expanded).collect::<Vec<_>>() {
            match name {
                Ok(name) => drop(self.values.insert(name, value)),
                Err(_) => *self = Variables::unknown(self.escape),
            }
        }
    }
}

/// What a build of one architecture reads, on a builder of one architecture.
struct Reading<'a> {
    file: &'a Dockerfile,
    target: Arch,
    args: &'a Arguments,
    /// The variables outside of all stages: the platforms, and the `ARG`s before the first `FROM`.
    globals: Variables,
    bases: Vec<Base>,
    faults: Vec<Fault>,
    inputs: Inputs,
    /// The sources of each stage that are known, whatever else counts.
    named: Vec<BTreeSet<ContextPath>>,
}

impl<'a> Reading<'a> {
    /// Knows the variables outside of all stages, and what is wrong with their defaults.
    fn new(file: &'a Dockerfile, args: &'a Arguments, target: Arch, build: Arch) -> Reading<'a> {
        let mut globals = Variables::of_platforms(args, target, build, file.escape);
        let mut faults = Vec::new();
        for instruction in &file.globals {
            let Effect::Arg(list) = &instruction.effect else { continue };
            for arg in list {
                if let Err(NoValue { what, is_refused: true }) = globals.declare(arg, args, None) {
                    let default = arg.value.as_deref().unwrap_or_default();
                    faults.push(Fault::new(instruction.line, format!("`ARG {}={default}`: {what}", arg.name)));
                }
            }
        }
        Reading { file, target, args, globals, bases: Vec::new(), faults, inputs: Inputs::default(), named: Vec::new() }
    }

    /// Reads all stages.
    fn walked(mut self) -> Reading<'a> {
        let mut ends: BTreeMap<&str, Variables> = BTreeMap::new();
        for stage in &self.file.stages {
            self.named.push(BTreeSet::new());
            let mut variables = self.begin(stage, &ends);
            for instruction in &stage.instructions {
                self.follow(&instruction.effect, instruction.line, &mut variables);
            }
            if let Some(name) = &stage.name {
                ends.insert(name, variables);
            }
        }
        self
    }

    /// The variables at the beginning of a stage: those at the end of the earlier stage that it builds on.
    fn begin(&mut self, stage: &Stage, ends: &BTreeMap<&str, Variables>) -> Variables {
        match self.image_of(stage) {
            Ok(image) if ends.contains_key(image.as_str()) => return ends[image.as_str()].clone(),
            Ok(image) if image == "scratch" => return Variables::of_scratch(self.file.escape),
            Ok(image) => self.base(image, stage.line),
            Err(fault) => self.faults.push(fault),
        }
        Variables::unknown(self.file.escape)
    }

    /// The image or stage that `FROM` names.
    fn image_of(&self, stage: &Stage) -> Result<String, Fault> {
        let image = &stage.image;
        const RULE: &str = "a base is known before the build, or nothing could hold it to a digest";
        let fault = |what: String| Fault::new(stage.line, what).rule(RULE);
        let mut unset = None;
        let expanded = expand(image, self.file.escape, &mut |name| {
            let value = self.globals.get(name);
            unset = unset.take().or_else(|| (value == Ok(None)).then(|| name.to_owned()));
            value
        });
        let text = expanded.map_err(|reason| fault(format!("`{image}`: {}", reason.what)))?;
        let is_whole = !text.is_empty() && !text.starts_with(['/', ':', '@']) && !text.ends_with(['/', ':', '@']);
        match unset {
            _ if is_whole && !text.contains(":@") => Ok(text),
            Some(name) => Err(fault(format!("`{image}`: `{name}` has no value"))
                .help(format!("give `ARG {name}=…` before the first `FROM`, or a build argument: `args` in job.json"))),
            None => Err(fault(format!("`{image}` names no image: it stands for `{text}`"))
                .help("mend the name, or the values of its variables")),
        }
    }

    fn base(&mut self, written: String, line: usize) {
        self.bases.push(Base { written, line: Some(line), role: BaseRole::Image });
    }

    fn follow(&mut self, effect: &Effect, line: usize, variables: &mut Variables) {
        match effect {
            // BuildKit itself refuses a default that it cannot expand.
            Effect::Arg(list) => {
                list.iter().for_each(|arg| drop(variables.declare(arg, self.args, Some(&self.globals))));
            }
            Effect::Env(pairs) => variables.set(pairs),
            Effect::Reads { transfers, unclear } => {
                if let Some(because) = unclear {
                    self.read(Inputs::Whole { line: Some(line), because: because.clone() });
                }
                transfers.iter().for_each(|transfer| self.transfer(transfer, line, variables));
            }
            Effect::Onbuild(effect) => {
                // It runs at the beginning of another stage or build, whose variables are not known here.
                self.follow(effect, line, &mut Variables::unknown(self.file.escape));
                if matches!(**effect, Effect::Arg(_) | Effect::Env(_)) {
                    *variables = Variables::unknown(self.file.escape);
                }
            }
            Effect::Other => {}
        }
    }

    fn read(&mut self, inputs: Inputs) {
        self.inputs = std::mem::take(&mut self.inputs).union(inputs);
    }

    fn transfer(&mut self, transfer: &Transfer, line: usize, variables: &Variables) {
        if let Some(from) = &transfer.from {
            let name = from.to_lowercase();
            let is_stage = self.file.stages.iter().any(|stage| stage.name.as_ref() == Some(&name));
            // Only `COPY --from` takes a stage's number; a mount or `FROM` would take an image of this name. A mount
            // counts whatever its type: BuildKit looks its `from` up before it knows the type.
            if !is_stage && (transfer.mount.is_some() || from.parse::<i64>().is_err()) {
                self.base(from.clone(), line);
            }
            return;
        }
        let sources = sources(transfer, line, variables);
        self.named.last_mut().into_iter().for_each(|named| named.extend(sources.iter().flatten().cloned()));
        self.read(match sources {
            Ok(sources) => Inputs::Sources(sources),
            Err(because) => Inputs::Whole { line: Some(line), because },
        });
    }

    /// What is wrong with the platform of a stage, if it may be another one than the target's.
    fn foreign_platform(&self, stage: &Stage) -> Option<Fault> {
        let (target, written) = (self.target, stage.platform.as_ref()?);
        let what = match self.globals.expand(written) {
            Ok(platform) if platform.is_empty() || Arch::from_alias(&platform) == Some(target) => return None,
            Ok(_) => format!("gives an image for {target} the programs of another architecture"),
            Err(reason) => format!("cannot be compared with {target}: {}", reason.what),
        };
        let fault = Fault::new(stage.line, format!("`FROM --platform={written}` {what}"));
        Some(fault.rule(PLATFORM_RULE).help(PLATFORM_HELP))
    }
}

/// What a transfer reads of the build context; or why that is all of it, or cannot be told.
fn sources(transfer: &Transfer, line: usize, variables: &Variables) -> Result<BTreeSet<ContextPath>, String> {
    let Transfer { verb, mount, .. } = transfer;
    let expand = |word: &str| variables.expand(word).map_err(|reason| format!("`{verb} {word}`: {}", reason.what));
    match mount.as_deref().map(&expand).transpose()?.map(|mount| mount.to_lowercase()).as_deref() {
        None | Some("bind") => {}
        // A cache begins empty where it is not told from which image.
        Some("cache" | "tmpfs" | "secret" | "ssh") => return Ok(BTreeSet::new()),
        Some(other) => return Err(format!("`{verb}=type={other}` is not known here")),
    }
    // A backslash only escapes in a pattern, but what it escapes is not looked into.
    let wildcards: &[char] = if mount.is_some() { &[] } else { &['*', '?', '[', '\\'] };
    let mut paths = BTreeSet::new();
    for source in &transfer.sources {
        // How a URL begins is enough: whatever its variables hold, it is no file.
        if *verb == "ADD" && is_remote(source.strip_prefix(['"', '\'']).unwrap_or(source)) {
            continue;
        }
        let written = expand(source)?;
        if *verb == "ADD" && is_remote(&written) {
            continue;
        }
        paths.insert(ContextPath::new(Some(line), &written, wildcards).ok_or_else(|| match mount {
            Some(_) => format!("`{verb}` mounts the whole context"),
            None => format!("`{verb} {source}` copies the whole context"),
        })?);
    }
    Ok(paths)
}

/// Whether `ADD` downloads the source or clones it, also from `user@host:path`.
fn is_remote(source: &str) -> bool {
    let word = |text: &str, others: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || others.contains(c))
    };
    let scp = source.split_once(':').and_then(|(login, _)| login.split_once('@'));
    ["http://", "https://", "git://", "ssh://"].iter().any(|scheme| source.starts_with(scheme))
        || scp.is_some_and(|(user, host)| word(user, "_") && word(host, "."))
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
