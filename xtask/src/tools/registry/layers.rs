//! Layers of images: downloaded, checked, unpacked and read, and gone afterwards.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use xshell::cmd;

use super::answer::{Question, other_content, unreachable};
use super::client::RegistryClient;
use super::curl::Answers;
use crate::model::{Digest, Exit, Failure, Layer, LayerFiles, LayerReader, Problem, Repository};
use crate::run::{Context, fleet};
use crate::tools::process::{self, Limit, Options};

/// A layer in a file.
struct Download {
    layer: Layer,
    path: Utf8PathBuf,
}

impl RegistryClient {
    /// Reads layers of a repository, all of which are on the disk for that time, packed as they are.
    ///
    /// # Errors
    /// One cannot be had, is not what its digest says, or is no archive of files.
    pub fn read_layers(
        &self,
        ctx: &Context,
        repository: &Repository,
        layers: Vec<Layer>,
    ) -> anyhow::Result<BTreeMap<Digest, LayerFiles>> {
        let folder = ctx.own_path("layers");
        std::fs::create_dir_all(&folder).with_context(|| format!("could not make {folder}"))?;
        let folder = Answers::below(folder.into()).context("could not make a folder for layers")?;
        let at = |(i, layer): (usize, Layer)| Download { layer, path: folder.0.join(i.to_string()) };
        let downloads: Vec<Download> = layers.into_iter().enumerate().map(at).collect();
        self.download(ctx, repository, &downloads)?;
        let read = fleet::on_all_cores(ctx, &downloads, |Download { layer, path }| {
            let at = repository.with_digest(&layer.digest);
            let files = check(ctx, repository, layer, path).and_then(|()| {
                read(ctx, path)?.map_err(|what| {
                    Problem::new(at.to_string(), format!("the layer cannot be read: {what}"))
                        .rule("a layer is an archive of files, packed by gzip or zstd or not at all")
                        .exit(Exit::Refused)
                })
            });
            // What is read makes room for what is not.
            std::fs::remove_file(path).with_context(|| format!("could not remove {path}"))?;
            files
        })?;
        Ok(downloads.into_iter().map(|download| download.layer.digest).zip(read).collect())
    }

    fn download(&self, ctx: &Context, repository: &Repository, downloads: &[Download]) -> anyhow::Result<()> {
        let question = |Download { layer, path }: &Download| Question::Layer {
            repository: repository.clone(),
            layer: layer.clone(),
            to: path.clone(),
        };
        let questions: Vec<Question> = downloads.iter().map(question).collect();
        let mut missing = Vec::new();
        for (question, answer) in questions.iter().zip(self.ask(ctx, &questions)?) {
            if answer?.is_none() {
                let problem = Problem::new(question.reference().to_string(), "the layer is not in the registry");
                let help = "delete the tags of this image in the registry, and build it again";
                missing.push(problem.rule("every layer of a published image can be pulled").help(help));
            }
        }
        Failure::unless_empty(Exit::Refused, missing)
    }
}

fn check(ctx: &Context, repository: &Repository, layer: &Layer, path: &Utf8Path) -> anyhow::Result<()> {
    let sum = process::read(
        ctx,
        |sh| cmd!(sh, "sha256sum -- {path}"),
        &Options { limit: Limit::Write, ..Options::default() },
    )?;
    let found = format!("sha256:{}", sum.split(' ').next().unwrap_or_default());
    let reference = repository.with_digest(&layer.digest);
    let found: Digest = found.parse().map_err(|_| unreachable(&reference, &format!("sha256sum says: {sum}")))?;
    if found == layer.digest { Ok(()) } else { Err(other_content(&reference, &layer.digest, &found)) }
}

/// Reads a layer by how it begins: media types say less of it, and not always the truth.
fn read(ctx: &Context, path: &Utf8Path) -> anyhow::Result<Result<LayerFiles, String>> {
    let mut start = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut start)?;
    let reader = RefCell::new(LayerReader::default());
    let on_stdout = |piece: &[u8]| reader.borrow_mut().take(piece);
    // What takes longer to be unpacked is no layer, but little data that is made to be much.
    let options = Options { limit: Limit::Write, on_stdout: Some(&on_stdout), ..Options::default() };
    let outcome = match start.as_slice() {
        [0x1f, 0x8b, ..] => process::run(ctx, |sh| cmd!(sh, "gzip --decompress --stdout -- {path}"), &options)?,
        [0x28, 0xb5, 0x2f, 0xfd] => process::run(ctx, |sh| cmd!(sh, "zstd --decompress --stdout -- {path}"), &options)?,
        _ => process::run(ctx, |sh| cmd!(sh, "cat -- {path}"), &options)?,
    };
    if !outcome.success() {
        return Ok(Err(outcome.reason()));
    }
    Ok(reader.into_inner().finish())
}
