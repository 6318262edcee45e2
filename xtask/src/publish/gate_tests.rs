use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

fn expected() -> Expected {
    Expected {
        repository: Repository::new(Some("reg.example".parse().unwrap()), "jobs/a").unwrap(),
        tag: "abc".parse().unwrap(),
        arches: Arch::ALL.to_vec(),
        revision: COMMIT.to_owned(),
        key: None,
        bases: BTreeMap::new(),
        attested: false,
    }
}

fn image(of: char, platform: &str) -> Manifest {
    let labels = BTreeMap::from([(REVISION.to_owned(), COMMIT.to_owned())]);
    Manifest {
        digest: digest(of),
        size: 1,
        platform: Some(platform.to_owned()),
        content: Content::Image { platform: platform.to_owned(), labels, triggers: false },
    }
}

fn attestation(of: char, subject: char) -> Manifest {
    Manifest {
        digest: digest(of),
        size: 1,
        platform: Some("unknown/unknown".to_owned()),
        content: Content::AttestationOf(Some(digest(subject))),
    }
}

fn index(manifests: Vec<Manifest>) -> Published {
    Published { digest: digest('f'), manifests, annotations: BTreeMap::new() }
}

fn parts(amd64: Option<Manifest>, arm64: Option<Manifest>) -> BTreeMap<Arch, Option<Published>> {
    let one = |manifest: Option<Manifest>| {
        manifest.map(|manifest| Published { digest: manifest.digest.clone(), ..index(vec![manifest]) })
    };
    BTreeMap::from([(Arch::Amd64, one(amd64)), (Arch::Arm64, one(arm64))])
}

/// The complaints about an index, without rule and help.
fn complaints(manifests: Vec<Manifest>) -> Vec<String> {
    let problems = check_index(&expected(), &index(manifests), "a").err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.what.replace(&"0".repeat(64), "0…")).collect()
}

#[test]
fn a_complete_set_passes_in_the_order_of_the_architectures() {
    let parts = parts(Some(image('1', "linux/amd64")), Some(image('2', "linux/arm64")));
    assert_eq!(check_parts(&expected(), &parts, "a").unwrap(), [digest('1'), digest('2')]);
    let whole = vec![image('1', "linux/amd64"), attestation('3', '1'), image('2', "linux/arm64")];
    assert_eq!(complaints(whole.clone()), Vec::<String>::new());
    check_agreement(&expected(), &index(whole.clone()), &parts, "a").unwrap();
    let expired = self::parts(None, None);
    check_agreement(&expected(), &index(whole), &expired, "a").unwrap();
}

#[test]
fn a_variant_that_says_nothing_new_is_the_same_platform() {
    let v8 = Manifest { platform: Some("linux/arm64/v8".to_owned()), ..image('2', "linux/arm64") };
    assert_eq!(complaints(vec![image('1', "linux/amd64"), v8]), Vec::<String>::new());
}

#[test]
fn an_incomplete_or_doubled_set_is_refused() {
    assert_eq!(complaints(vec![image('1', "linux/amd64")]), ["arm64 is missing"]);
    assert_eq!(
        complaints(vec![image('1', "linux/amd64"), image('2', "linux/arm64"), image('3', "linux/arm64")]),
        ["linux/arm64 is there 2 times"]
    );
    let foreign = complaints(vec![image('1', "linux/amd64"), image('2', "linux/arm64"), image('3', "linux/s390x")]);
    assert_eq!(foreign, [format!("holds an image of linux/s390x ({})", digest('3'))]);
    let problems = check_parts(&expected(), &parts(Some(image('1', "linux/amd64")), None), "a").unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "reg.example/jobs/a:abc-arm64: arm64 is missing\n  \
         rule: a tag is published when every architecture is there\n  help: cargo xtask build --arch arm64 a"
    );
}

#[test]
fn what_the_index_says_has_to_be_what_the_image_is() {
    let lying = Manifest { platform: Some("linux/arm64".to_owned()), ..image('2', "linux/amd64") };
    let problems = check_parts(&expected(), &parts(Some(image('1', "linux/amd64")), Some(lying)), "a").unwrap_err();
    let what: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(what[0], format!("holds an image of linux/amd64 ({})", digest('2')));
    assert_eq!(what[1], format!("{} is listed as linux/arm64, but is an image of linux/amd64", digest('2')));
    let silent = Manifest { platform: None, ..image('2', "linux/arm64") };
    assert_eq!(
        complaints(vec![image('1', "linux/amd64"), silent]),
        [format!("{} is listed without a platform", digest('2'))]
    );
}

#[test]
fn another_revision_or_none_is_refused() {
    let with = |labels: BTreeMap<String, String>| Manifest {
        content: Content::Image { platform: "linux/arm64".to_owned(), labels, triggers: false },
        ..image('2', "linux/arm64")
    };
    let stale = with(BTreeMap::from([(REVISION.to_owned(), "old".to_owned())]));
    assert_eq!(complaints(vec![image('1', "linux/amd64"), stale]), [format!("was built from old, not from {COMMIT}")]);
    assert_eq!(
        complaints(vec![image('1', "linux/amd64"), with(BTreeMap::new())]),
        ["carries no revision label, so nobody knows what it was built from"]
    );
}

#[test]
fn an_attestation_of_something_else_is_refused() {
    let manifests = vec![image('1', "linux/amd64"), image('2', "linux/arm64"), attestation('4', '9')];
    assert_eq!(complaints(manifests), [format!("{} attests to an image that is not in the index", digest('4'))]);
}

#[test]
fn a_tag_with_other_content_is_refused_with_both_digests() {
    let whole = index(vec![image('1', "linux/amd64"), image('2', "linux/arm64")]);
    let other = parts(Some(image('1', "linux/amd64")), Some(image('3', "linux/arm64")));
    let problems = check_agreement(&expected(), &whole, &other, "a").unwrap_err();
    assert_eq!(
        problems[0].what,
        format!(
            "exists with other content: linux/amd64 {}, linux/arm64 {}, and not linux/arm64 {}",
            digest('1'),
            digest('2'),
            digest('3')
        )
    );
    let half = parts(Some(image('1', "linux/amd64")), None);
    let problems = check_agreement(&expected(), &whole, &half, "a").unwrap_err();
    assert_eq!(problems[0].what, "arm64 is missing, while another architecture's tag is there");
}

#[test]
fn the_revision_of_an_index_is_the_one_that_all_images_carry() {
    let mut whole = index(vec![image('1', "linux/amd64"), image('2', "linux/arm64")]);
    assert_eq!(whole.revision(), Some(COMMIT));
    whole.manifests.push(Manifest {
        content: Content::Image { platform: "linux/x".to_owned(), labels: BTreeMap::new(), triggers: false },
        ..image('3', "linux/x")
    });
    assert_eq!(whole.revision(), None);
    assert_eq!(index(Vec::new()).revision(), None);
}

#[test]
fn with_a_key_it_is_the_key_that_counts() {
    let key = "0123456789abcdef0123";
    let bases = |of: char| BTreeMap::from([("busybox:1.37".to_owned(), digest(of))]);
    let expected = Expected { key: Some(key.parse().unwrap()), bases: bases('1'), ..expected() };
    let with = |of: char, arch: &str, labels: &[(&str, String)]| Manifest {
        content: Content::Image {
            platform: format!("linux/{arch}"),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            triggers: false,
        },
        ..image(of, &format!("linux/{arch}"))
    };
    let right = with('1', "amd64", &[(key::LABEL, key.to_owned())]);
    let what = |arm64: Manifest| {
        let problems = check_index(&expected, &index(vec![right.clone(), arm64]), "a").err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.what).collect::<Vec<_>>()
    };
    assert_eq!(what(with('2', "arm64", &[(key::LABEL, key.to_owned())])), Vec::<String>::new());
    assert_eq!(
        what(with('2', "arm64", &[(REVISION, COMMIT.to_owned())])),
        ["carries no key, so nobody knows what it was built from"]
    );
    let other = (key::LABEL, "f".repeat(20));
    assert_eq!(
        what(with('2', "arm64", std::slice::from_ref(&other))),
        [format!("was built from other inputs: its key is {}, not {key}", "f".repeat(20))]
    );
    let moved = (key::BASES_LABEL, key::bases_label(&bases('2')));
    assert_eq!(
        what(with('2', "arm64", &[other, moved])),
        [format!("was built from another base: busybox:1.37 was {}, and is {} for this run", digest('2'), digest('1'))]
    );
    // What this commit published before a base moved stays right.
    let old = |of: char, arch: &str| with(of, arch, &[(REVISION, COMMIT.to_owned()), (key::LABEL, "f".repeat(20))]);
    let published = index(vec![old('1', "amd64"), old('2', "arm64")]);
    assert!(is_right(&expected, &published) && check_index(&expected, &published, "a").is_err());
}

#[test]
fn a_target_that_wants_attestations_refuses_images_without() {
    let expected = Expected { attested: true, ..expected() };
    let manifests = vec![image('1', "linux/amd64"), image('2', "linux/arm64"), attestation('3', '1')];
    let problems = check_index(&expected, &index(manifests.clone()), "a").unwrap_err();
    let what: Vec<String> = problems.into_iter().map(|problem| problem.what).collect();
    assert_eq!(what, [format!("the image of linux/arm64 ({}) carries no attestation", digest('2'))]);
    let whole = [manifests, vec![attestation('4', '2')]].concat();
    check_index(&expected, &index(whole), "a").unwrap();
}
