use super::*;
use crate::model::key;
use crate::model::reference::Repository;
use crate::publish::gate::{Content, Manifest, REVISION};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const KEY: &str = "0123456789abcdef0123";

fn expected() -> Expected {
    Expected {
        repository: Repository::new(None, "jobs/a").unwrap(),
        tag: "abc".parse().unwrap(),
        arches: Arch::ALL.to_vec(),
        revision: COMMIT.to_owned(),
        key: Some(KEY.parse().unwrap()),
        bases: BTreeMap::new(),
        attested: false,
    }
}

fn images(arches: &[Arch], key: &str, revision: &str) -> Published {
    let manifest = |&arch: &Arch| {
        let platform = format!("linux/{arch}");
        let labels = [(key::LABEL, key), (REVISION, revision)];
        Manifest {
            digest: format!("sha256:{}", (if arch == Arch::Amd64 { "1" } else { "2" }).repeat(64)).parse().unwrap(),
            size: 1,
            platform: Some(platform.clone()),
            content: Content::Image {
                platform,
                labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
                triggers: false,
            },
        }
    };
    let digest = format!("sha256:{}", "f".repeat(64)).parse().unwrap();
    Published { digest, manifests: arches.iter().map(manifest).collect(), annotations: BTreeMap::new() }
}

fn parts(amd64: Option<&str>, arm64: Option<&str>) -> BTreeMap<Arch, Option<Published>> {
    let part = |arch, key: Option<&str>| (arch, key.map(|key| images(&[arch], key, COMMIT)));
    BTreeMap::from([part(Arch::Amd64, amd64), part(Arch::Arm64, arm64)])
}

fn decided(held: &Held) -> (Action, Vec<Arch>, String) {
    let decision = decide(&expected(), held, None, Force::No);
    (decision.action, decision.arches, decision.reason.to_string())
}

#[test]
fn a_published_tag_is_done() {
    let index = Some(images(&Arch::ALL, KEY, "old"));
    let done = (Action::Done, vec![], "published".to_owned());
    assert_eq!(decided(&Held { index: index.clone(), ..Held::default() }), done);
    assert_eq!(decided(&Held { index: index.clone(), parts: parts(Some(KEY), Some(KEY)), ..Held::default() }), done);
    // Of this commit, before a base moved.
    assert_eq!(decided(&Held { index: Some(images(&Arch::ALL, "f", COMMIT)), ..Held::default() }), done);
    // An architecture's tag was deleted.
    assert_eq!(
        decided(&Held { index, parts: parts(Some(KEY), None), ..Held::default() }),
        (Action::Build, vec![Arch::Arm64], "arm64 missing".to_owned())
    );
}

#[test]
fn images_of_the_same_key_are_used_again() {
    let keyed = Some(images(&Arch::ALL, KEY, "3f2a9c1d"));
    assert_eq!(
        decided(&Held { keyed: keyed.clone(), parts: parts(None, None), ..Held::default() }),
        (Action::Reuse, vec![], "unchanged since 3f2a9c1".to_owned())
    );
    assert_eq!(
        decided(&Held { keyed, parts: parts(Some(KEY), Some(KEY)), ..Held::default() }),
        (Action::Reuse, vec![], "every architecture is built".to_owned())
    );
}

#[test]
fn an_incomplete_or_lying_key_tag_is_not_trusted() {
    for keyed in [images(&[Arch::Amd64], KEY, "x"), images(&Arch::ALL, "ffffffffffffffffffff", "x")] {
        let held = Held { keyed: Some(keyed), parts: parts(None, None), ..Held::default() };
        assert_eq!(decided(&held).0, Action::Build);
    }
}

#[test]
fn only_what_is_missing_is_built() {
    let other = Some("ffffffffffffffffffff");
    let (build, both) = (Action::Build, Arch::ALL.to_vec());
    for (found, result) in [
        (parts(None, None), (build, both.clone(), "nothing with these inputs is built")),
        (parts(Some(KEY), None), (build, vec![Arch::Arm64], "arm64 missing")),
        (parts(other, Some(KEY)), (build, vec![Arch::Amd64], "amd64 missing")),
        (parts(other, other), (build, both, "nothing with these inputs is built")),
    ] {
        let (action, arches, reason) = decided(&Held { parts: found, ..Held::default() });
        assert_eq!((action, arches, reason.as_str()), result);
    }
}

#[test]
fn what_is_not_committed_or_is_forced_is_built_whatever_there_is() {
    let held = Held {
        index: Some(images(&Arch::ALL, KEY, COMMIT)),
        keyed: Some(images(&Arch::ALL, KEY, COMMIT)),
        parts: parts(Some(KEY), Some(KEY)),
    };
    let dirty = decide(&expected(), &held, Some("jobs/a/x"), Force::No);
    assert_eq!((dirty.action, dirty.reason.to_string()), (Action::Build, "jobs/a/x is not committed".to_owned()));
    let forced = decide(&expected(), &held, None, Force::Yes);
    assert_eq!((forced.arches, forced.reason.to_string()), (Arch::ALL.to_vec(), "forced".to_owned()));
}
