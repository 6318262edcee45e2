//! What is wrong with a repository of ECR: tags that can change although they must not, or cannot although they must,
//! and published images that its lifecycle policy would take away.
//!
//! The rules are those of ECR's user guide, [tag mutability] and [lifecycle policies].
//!
//! [tag mutability]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
//! [lifecycle policies]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html

mod registry;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::arch::Arch;
use super::problem::Problem;
use super::reference::Tag;
pub use registry::CreationTemplate;

/// How many repositories a message names.
const MAX_NAMES: usize = 5;
/// How many patterns of tags ECR lets a repository exclude from its setting.
const MAX_EXCLUSIONS: usize = 5;
/// The tags by which later runs find images. A forced rebuild moves such a tag to the image that it has made.
const KEY_TAGS: &str = "key-*";
/// The tags of cached layers, one for each architecture. Each build replaces them.
const CACHE_TAGS: &str = "cache-*";
/// From how many tags of an image on it is time to say that ECR lets it have 1,000.
const MANY_TAGS: usize = 900;
/// For how many days GitHub lets a run be repeated.
const REPEATABLE_DAYS: u32 = 30;

/// A repository, as it is in ECR or as `ecr ensure` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrRepository {
    /// `IMMUTABLE` or `MUTABLE`, or one of them with `_WITH_EXCLUSION` for the tags that match `exclusions`.
    pub tag_mutability: String,
    pub exclusions: Vec<String>,
    /// Whether images are scanned when they are pushed, by a setting of its own or of the registry.
    pub scan_on_push: bool,
    /// How many tags the image with the most of them has, as far as that was counted.
    pub most_tags: usize,
    /// The rules by which ECR removes images, if there is a lifecycle policy.
    pub policy: Option<Vec<LifecycleRule>>,
}

/// A rule of a lifecycle policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LifecycleRule {
    rule_priority: u32,
    selection: ImageSelection,
    /// `type` is `expire` or `transition`.
    action: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageSelection {
    /// `tagged`, `untagged` or `any`.
    tag_status: String,
    #[serde(default)]
    tag_prefix_list: Vec<String>,
    #[serde(default)]
    tag_pattern_list: Vec<String>,
    /// `imageCountMoreThan`, or an age such as `sinceImagePushed`.
    count_type: String,
    count_number: u32,
    /// `archive` for a rule about images that another rule has archived.
    #[serde(default)]
    storage_class: Option<String>,
}

/// What a run publishes in a repository.
#[derive(Clone, Copy, Debug)]
pub struct Publishing<'a> {
    pub tag: &'a Tag,
    pub arches: &'a [Arch],
    pub moving_tags: &'a [Tag],
    /// Whether it keeps the layers of builds there too.
    pub caches: bool,
}

/// Why an image that a run publishes is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImageRole {
    /// One architecture's image: needed until the merge, and by a run that is repeated.
    Part,
    /// An index that only its own tag and its key point at.
    Release,
    /// An index that a moving tag points at: it is in use.
    Live,
}

/// Something that is wrong with a repository. Warnings sort before what is fatal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EcrFinding {
    pub is_fatal: bool,
    pub what: String,
    pub rule: &'static str,
    /// `<name>` stands for the repository's name.
    pub help: String,
}

/// The rules without which a run would fail, or images would vanish that are in use. To break another is a warning.
const FATAL: [&str; 4] = [EXISTS, TAGS_MOVE, PUSHED_STAYS, LIVE_STAYS];
const EXISTS: &str = "a repository is there before the first push, or a creation template makes it then";
const TAGS_MOVE: &str = "the target's moving tags are excluded from immutability";
const PUSHED_STAYS: &str = "what one run pushes stays until it is published";
const LIVE_STAYS: &str = "an unchanged job keeps its image, which keeps its first day: it would expire in use";

impl EcrFinding {
    fn new(what: String, rule: &'static str, help: String) -> EcrFinding {
        EcrFinding { is_fatal: FATAL.contains(&rule), what, rule, help }
    }
}

/// What is wrong with a repository, or else with the one that a template makes, for a run that publishes this.
pub fn check_repository(
    repository: Option<&EcrRepository>,
    template: Option<&CreationTemplate>,
    publishing: &Publishing<'_>,
) -> Vec<EcrFinding> {
    let Some(found) = repository.or(template.map(|template| &template.repository)) else {
        return vec![EcrFinding::new("not there".to_owned(), EXISTS, "cargo xtask ecr ensure".to_owned())];
    };
    let mut findings = found.check_tags(publishing);
    findings.extend(found.check_images());
    findings.extend(found.policy.iter().flat_map(|rules| check_policy(rules, publishing)));
    if let (None, Some(template)) = (repository, template) {
        let of_template = format!("update-repository-creation-template --prefix {}", template.prefix);
        for finding in &mut findings {
            finding.help = finding.help.replace("put-image-tag-mutability --repository-name <name>", &of_template);
        }
    }
    findings
}

impl EcrRepository {
    /// The repository as it is to be made: no tag can change, except the moving tags, `key-…`, and those of the cache.
    ///
    /// # Errors
    /// There are more moving tags than ECR can exclude.
    pub fn wanted(publishing: &Publishing<'_>, policy: Option<Vec<LifecycleRule>>) -> Result<EcrRepository, Problem> {
        let moving = publishing.moving_tags;
        let own = if publishing.caches { vec![KEY_TAGS, CACHE_TAGS] } else { vec![KEY_TAGS] };
        let exclusions = moving.iter().map(Tag::to_string).chain(own.iter().map(|&pattern| pattern.to_owned()));
        let exclusions: Vec<String> = exclusions.collect();
        if exclusions.len() > MAX_EXCLUSIONS {
            let taken = if publishing.caches { "are two" } else { "is one" };
            return Err(Problem::new("moving-tags", format!("there are {}", moving.len()))
                .rule(format!(
                    "ECR lets at most {MAX_EXCLUSIONS} patterns of tags change in an immutable repository, and \
                     `{}` {taken} of them",
                    own.join("`, `")
                ))
                .help("give this target fewer moving tags"));
        }
        let tag_mutability = "IMMUTABLE_WITH_EXCLUSION".to_owned();
        Ok(EcrRepository { tag_mutability, exclusions, scan_on_push: true, most_tags: 0, policy })
    }

    /// The setting of its tags as flags of the AWS client.
    pub fn mutability_flags(&self) -> Vec<String> {
        let flags = ["--image-tag-mutability", &self.tag_mutability, "--image-tag-mutability-exclusion-filters"];
        let patterns = self.exclusions.iter().map(|pattern| format!("filterType=WILDCARD,filter={pattern}"));
        flags.map(str::to_owned).into_iter().chain(patterns).collect()
    }

    /// The setting of its tags in words: `immutable except latest key-*`.
    pub fn shown_tags(&self) -> String {
        let exclusions = format!(" except {}", self.exclusions.join(" "));
        self.tag_mutability.to_lowercase().replace("_with_exclusion", &exclusions)
    }

    /// Finds tags that cannot change although they must, and tags that can although they must not.
    fn check_tags(&self, publishing: &Publishing<'_>) -> Vec<EcrFinding> {
        let moving = publishing.moving_tags.iter().map(Tag::to_string);
        let stuck = moving.filter(|tag| !self.can_change(tag)).collect::<Vec<_>>().join("`, `");
        let mut fixed = publishing.images(ImageRole::Part).concat();
        fixed.push(publishing.tag.to_string());
        let mut findings = Vec::new();
        let mut add = |what: &str, rule| {
            let what = format!("{what}: the tags are {}", self.shown_tags());
            findings.push(EcrFinding::new(what, rule, publishing.remedy()));
        };
        if !stuck.is_empty() {
            add(&format!("`{stuck}` cannot move"), TAGS_MOVE);
        }
        if !self.can_change(&key_tag()) {
            add("a forced rebuild could not replace the image behind `key-…`", "`key-*` is excluded from immutability");
        }
        if publishing.caches && !publishing.arches.iter().all(|arch| self.can_change(&format!("cache-{arch}"))) {
            add("no later build could replace the cached layers", "`cache-*` is excluded from immutability");
        }
        if fixed.iter().any(|tag| self.can_change(tag)) {
            add("anybody who may push can change a published tag", "a published tag never changes");
        }
        findings
    }

    /// Finds images that nobody scans, and one that will get no further tag.
    fn check_images(&self) -> Vec<EcrFinding> {
        let mut findings = Vec::new();
        let mut add = |what: String, rule, help: &str| findings.push(EcrFinding::new(what, rule, help.to_owned()));
        if !self.scan_on_push {
            add(
                "not scanned on push".to_owned(),
                "images are scanned for known weaknesses when they are pushed, by a setting of the registry or of each \
                 repository",
                "set it for the registry with `aws ecr put-registry-scanning-configuration`, or here: aws ecr \
                 put-image-scanning-configuration --repository-name <name> --image-scanning-configuration \
                 scanOnPush=true",
            );
        }
        if self.most_tags >= MANY_TAGS {
            add(
                format!("an image has {} tags", self.most_tags),
                "ECR lets an image have 1,000 tags, and refuses the next",
                "delete those that nobody uses: aws ecr batch-delete-image --repository-name <name> --image-ids \
                 imageTag=<tag>",
            );
        }
        findings
    }

    /// Whether a tag can be made to point at something else.
    fn can_change(&self, tag: &str) -> bool {
        let with_exclusion = self.tag_mutability.ends_with("_WITH_EXCLUSION");
        let excluded = with_exclusion && self.exclusions.iter().any(|pattern| matches(pattern, tag));
        self.tag_mutability.starts_with("MUTABLE") != excluded
    }
}

impl Publishing<'_> {
    /// The command that gives a repository the right setting for its tags.
    fn remedy(&self) -> String {
        match EcrRepository::wanted(self, None) {
            Ok(wanted) => {
                // A shell would look for files that match the `*`.
                let quoted = |flag: String| if flag.contains('*') { format!("'{flag}'") } else { flag };
                let flags: Vec<String> = wanted.mutability_flags().into_iter().map(quoted).collect();
                format!("aws ecr put-image-tag-mutability --repository-name <name> {}", flags.join(" "))
            }
            Err(problem) => problem.help.unwrap_or_default(),
        }
    }

    /// The images that a run leaves in a repository in this role, each as the tags that it has at once.
    /// The last of an image's tags is the one to name it by.
    fn images(&self, role: ImageRole) -> Vec<Vec<String>> {
        let moving: Vec<String> = self.moving_tags.iter().map(Tag::to_string).collect();
        let release = vec![key_tag(), self.tag.to_string()];
        match role {
            ImageRole::Part => self.arches.iter().map(|&arch| vec![self.tag.for_arch(arch).to_string()]).collect(),
            ImageRole::Release => vec![release],
            ImageRole::Live if moving.is_empty() => Vec::new(),
            ImageRole::Live => vec![[release, moving].concat()],
        }
    }

    /// How many manifests a run pushes that a rule counts. With its attestations, one architecture's image is an
    /// index of two manifests that have no tags of their own; the merge adds one index.
    fn counted(&self, rule: &LifecycleRule) -> u32 {
        let pushed = [self.images(ImageRole::Part), self.images(ImageRole::Release)].concat();
        let count = match rule.selection.tag_status.as_str() {
            "any" => 3 * self.arches.len() + 1,
            _ => pushed.iter().filter(|tags| rule.selects(tags)).count(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// A tag of the form that `key-…` tags have.
fn key_tag() -> String {
    KEY_TAGS.replace('*', &"0".repeat(20))
}

/// Reads the rules of a lifecycle policy; `at` says where it stands.
///
/// # Errors
/// The text is no such policy.
pub fn lifecycle_rules(at: &str, text: &str) -> Result<Vec<LifecycleRule>, Problem> {
    #[derive(Deserialize)]
    struct LifecyclePolicy {
        rules: Vec<LifecycleRule>,
    }
    let policy: Result<LifecyclePolicy, _> = serde_json::from_str(text);
    policy.map(|policy| policy.rules).map_err(|error| Problem::new(at, format!("not a lifecycle policy: {error}")))
}

/// Finds the published images that a lifecycle policy takes away.
///
/// Of the rules that select an image by its tags, the one with the lowest number decides alone. Images without a tag
/// need no check: ECR expires no image of an index before the index itself.
fn check_policy(rules: &[LifecycleRule], publishing: &Publishing<'_>) -> Vec<EcrFinding> {
    let mut taken: BTreeMap<(u32, &str), (&LifecycleRule, Vec<String>)> = BTreeMap::new();
    for role in [ImageRole::Part, ImageRole::Release, ImageRole::Live] {
        for mut tags in publishing.images(role) {
            let selecting = rules.iter().filter(|rule| rule.selects(&tags));
            let Some(rule) = selecting.min_by_key(|rule| rule.rule_priority) else { continue };
            let Some(reason) = rule.broken_by(role, publishing) else { continue };
            taken.entry((rule.rule_priority, reason)).or_insert((rule, Vec::new())).1.extend(tags.pop());
        }
    }
    let mut findings = Vec::new();
    for ((_, reason), (rule, tags)) in taken {
        let help = "narrow the rule's tags, as .github/ecr-lifecycle.json does, or raise its number".to_owned();
        findings.push(EcrFinding::new(rule.describe(&tags, publishing), reason, help));
    }
    findings
}

impl LifecycleRule {
    /// Whether the rule selects an image with these tags: each of its patterns has to match one of them.
    fn selects(&self, tags: &[String]) -> bool {
        let ImageSelection { tag_prefix_list, tag_pattern_list, storage_class, .. } = &self.selection;
        let has = |pattern: &str| tags.iter().any(|tag| matches(pattern, tag));
        match self.selection.tag_status.as_str() {
            _ if storage_class.as_deref() == Some("archive") => false,
            "any" => true,
            "tagged" => {
                tag_prefix_list.iter().all(|prefix| has(&format!("{prefix}*")))
                    && tag_pattern_list.iter().all(|pattern| has(pattern))
            }
            _ => false,
        }
    }

    /// What is broken if the rule takes away an image of this role; `None` if it may.
    fn broken_by(&self, role: ImageRole, publishing: &Publishing<'_>) -> Option<&'static str> {
        let number = self.selection.count_number;
        Some(match role {
            _ if self.is_by_count() && number < publishing.counted(self) => PUSHED_STAYS,
            _ if self.is_by_count() => "a count makes room for the next runs, whatever is still in use",
            ImageRole::Part if number >= REPEATABLE_DAYS => return None,
            ImageRole::Part => "a run can be repeated for 30 days, and then needs the images it has built",
            ImageRole::Release => "an unchanged job keeps its image, which keeps its first day",
            ImageRole::Live => LIVE_STAYS,
        })
    }

    fn is_by_count(&self) -> bool {
        self.selection.count_type == "imageCountMoreThan"
    }

    /// What the rule does to images with tags like these, in words.
    fn describe(&self, tags: &[String], publishing: &Publishing<'_>) -> String {
        let ImageSelection { count_type, count_number, .. } = &self.selection;
        let verb = if self.action.get("type").is_some_and(|kind| kind == "expire") { "expires" } else { "archives" };
        let when = match count_type.as_str() {
            "imageCountMoreThan" => {
                format!("when there are more than {count_number}, and one run makes {}", publishing.counted(self))
            }
            "sinceImagePushed" => format!("{count_number} days after the push"),
            "sinceImagePulled" => format!("{count_number} days after the last pull"),
            other => format!("{count_number} days after {other}"),
        };
        format!("lifecycle rule {} {verb} images tagged like `{}` {when}", self.rule_priority, tags.join("`, `"))
    }
}

/// Repositories as a message names them: the first few, and how many more there are.
pub fn named_repositories(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    let word = if names.len() == 1 { "repository" } else { "repositories" };
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{word} {}{rest}", shown.join(", "))
}

/// Whether a tag matches a pattern, in which `*` stands for any characters or none.
fn matches(pattern: &str, tag: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == tag };
    let Some(tag) = tag.strip_prefix(first) else { return false };
    (0..=tag.len()).any(|i| tag.is_char_boundary(i) && matches(rest, &tag[i..]))
}

#[cfg(test)]
#[path = "ecr_tests.rs"]
mod tests;
