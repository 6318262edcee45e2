//! The layers of builds, kept in a registry for later ones: one cache for each job and architecture. It saves time and
//! decides nothing: a cache that cannot be read or written fails no build.

use crate::model::{Arch, Repository};
use crate::plan::Job;
use crate::settings::Cache;

/// The values of `--cache-from` and `--cache-to` for a job, if the target keeps layers.
pub fn places(cache: Cache, job: &Job, repository: &Repository, arch: Arch) -> Option<[String; 2]> {
    if cache == Cache::None {
        return None;
    }
    let place = format!("type=registry,ref={repository}:cache-{arch}");
    // A mounted secret is in no layer by itself. But a stage that is not shipped may write it to a file, so of such a
    // job only the layers of the image are kept, which whoever can read the cache has anyway.
    let is_given = !job.settings.secrets.is_empty() || !job.settings.ssh.is_empty();
    let mode = if is_given { "min" } else { "max" };
    // ECR takes the cache as an OCI image manifest only.
    let to = format!("{place},mode={mode},image-manifest=true,oci-mediatypes=true,ignore-error=true");
    Some([place, to])
}

/// Why the registry did not take the layers of a build, if it did not. buildx says so in its log alone, because errors
/// of the cache are ignored.
pub fn refusal(log: &str) -> Option<String> {
    let step = log.lines().find_map(|line| line.strip_suffix(" exporting cache to registry"))?;
    let start = format!("{step} ERROR: ");
    let mut lines = log.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next()?.trim_start_matches(&start);
    let more = lines.take_while(|line| !line.is_empty() && !line.starts_with(['#', '-']));
    Some(std::iter::once(first).chain(more).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_cache_is_found_in_the_log() {
        let log = "#5 importing cache manifest from r/b:cache-amd64\n#5 ERROR: not found\n------\n > importing cache \
                   manifest from r/b:cache-amd64:\n------\n\n#11 exporting cache to registry\n#11 preparing build \
                   cache for export done\n#11 ERROR: 400 Bad Request\nunknown: immutable\n------\n > exporting \
                   cache to registry:\n------\n\n";
        assert_eq!(refusal(log).as_deref(), Some("400 Bad Request; unknown: immutable"));
        assert_eq!(refusal(&log.replace("#11 ERROR: 400 Bad Request\nunknown: immutable", "#11 DONE 0.1s")), None);
        assert_eq!(refusal("#1 ERROR: no\n"), None);
    }
}
