//! The variables that a supervisor and a job start with: a clean set, never the server's own.

use crate::Launch;
use kaogong_domain::variables::{DEVICES, looks_secret};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

/// Marks every process of an attempt, so that what is left after a crash can be found.
pub(crate) const ATTEMPT_VARIABLE: &str = "KAOGONG_ATTEMPT_ID";

/// What the usual thread pools look at for their size.
const THREAD_VARIABLES: [&str; 6] = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// What a job gets from the server's environment: the place, the way out, and whom to trust.
const SHARED: [&str; 22] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "USER",
    "LOGNAME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
];

/// What the usual HTTP clients look at for hosts that need no proxy.
const PROXY_EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Where programs are looked for when the server has no `PATH`.
const PATH_USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest path of a temporary directory; below it, programs put sockets whose whole path may have
/// 107 bytes only.
const TMPDIR_BYTES_MAX: usize = 70;

/// What of the server's environment its supervisors get: what jobs get, a home, and uv's settings.
pub(crate) fn for_supervisor(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    all.filter(|(name, _)| {
        name.to_str().is_some_and(|it| it == "HOME" || it.starts_with("UV_") || SHARED.contains(&it))
    })
}

/// Secrets of the machine that a job or a package tool could print: values of variables that are named so, and the
/// passwords in addresses of proxies and package indexes.
pub(crate) fn secrets_of_machine(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    let mut found = vec![];
    for (name, value) in all {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        if looks_secret(name) {
            found.push(value.to_owned());
        }
        for part in value.split("://").skip(1) {
            let host = part.split(['/', ' ', ',', '?']).next().unwrap_or_default();
            let Some((user, _)) = host.rsplit_once('@') else { continue };
            found.push(user.split_once(':').map_or(user, |it| it.1).to_owned());
        }
    }
    found
}

/// Everything a job's command starts with.
pub(crate) fn for_job(
    launch: &Launch,
    environment: Option<&Path>,
    tmp: &Path,
    own: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut vars: BTreeMap<OsString, OsString> =
        own.filter(|(name, _)| name.to_str().is_some_and(|it| SHARED.contains(&it))).collect();
    let mut usual = |name: &str, value: OsString| {
        vars.entry(name.into()).or_insert(value);
    };
    usual("PATH", PATH_USUAL.into());
    usual("LANG", "C.UTF-8".into());
    usual("HOME", launch.work_dir.clone().into());
    usual("PYTHONUNBUFFERED", "1".into());
    if tmp.as_os_str().len() <= TMPDIR_BYTES_MAX {
        usual("TMPDIR", tmp.into());
    }
    if let Some(cpus) = launch.limits.cpus {
        for name in THREAD_VARIABLES {
            usual(name, format!("{}", cpus.ceil()).into());
        }
    }
    if !PROXY_EXCEPTIONS.iter().any(|it| launch.env.contains_key(*it)) {
        except_from_proxy(&mut vars, &launch.direct_hosts);
    }
    vars.extend(launch.env.iter().map(|(name, value)| (name.into(), value.into())));
    if let Some(environment) = environment {
        let mut path = environment.join("bin").into_os_string();
        path.push(":");
        path.push(vars.get(&OsString::from("PATH")).cloned().unwrap_or_default());
        vars.insert("PATH".into(), path);
        vars.insert("VIRTUAL_ENV".into(), environment.into());
        vars.remove(&OsString::from("PYTHONHOME"));
    }
    for name in DEVICES {
        vars.insert(name.into(), OsString::new());
    }
    vars.extend(launch.devices.iter().map(|(name, value)| (name.into(), value.into())));
    vars.insert(ATTEMPT_VARIABLE.into(), launch.attempt.to_string().into());
    vars
}

/// Adds hosts to those that are reached without a proxy. Programs read the one name or the other.
fn except_from_proxy(vars: &mut BTreeMap<OsString, OsString>, hosts: &[String]) {
    if hosts.is_empty() {
        return;
    }
    let known: Vec<Option<OsString>> =
        PROXY_EXCEPTIONS.iter().map(|it| vars.get(OsStr::new(it)).filter(|it| !it.is_empty()).cloned()).collect();
    let either = known.iter().flatten().next().cloned();
    for (name, own) in PROXY_EXCEPTIONS.iter().zip(known) {
        let mut value = own.or_else(|| either.clone()).unwrap_or_default();
        for host in hosts {
            if !value.is_empty() {
                value.push(",");
            }
            value.push(host);
        }
        vars.insert((*name).into(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use kaogong_domain::{Timestamp, ids::AttemptId};

    fn pairs(list: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into_iter()
    }

    fn text_pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn launch() -> Launch {
        Launch {
            attempt: AttemptId::from_parts(Timestamp(1), 2),
            work_dir: "/jobs/a/work".into(),
            command: vec!["true".into()],
            env: text_pairs(&[("CUDA_VISIBLE_DEVICES", "0,1,2"), ("SEED", "7"), ("OMP_NUM_THREADS", "9")]),
            masked: vec![],
            devices: text_pairs(&[("MLU_VISIBLE_DEVICES", "3")]),
            direct_hosts: vec!["127.0.0.1".into()],
            environment: None,
            limits: Limits { cpus: Some(1.5), ..Limits::default() },
        }
    }

    #[test]
    fn nothing_of_the_server_but_the_shared_part_reaches_a_job() {
        let server =
            [("PATH", "/bin"), ("KAOGONG_SECRET", "x"), ("UV_INDEX_URL", "u"), ("HOME", "/root"), ("TZ", "UTC")];
        let supervisor: Vec<_> = for_supervisor(pairs(&server)).collect();
        assert_eq!(supervisor.len(), 4);
        let vars = for_job(&launch(), Some(Path::new("/envs/e")), Path::new("/t"), supervisor.into_iter());
        let get = |name: &str| vars.get(&OsString::from(name)).and_then(|it| it.to_str());
        assert_eq!(get("KAOGONG_SECRET"), None);
        assert_eq!(get("UV_INDEX_URL"), None);
        assert_eq!(get("HOME"), Some("/jobs/a/work"));
        assert_eq!(get("PATH"), Some("/envs/e/bin:/bin"));
        assert_eq!(get("VIRTUAL_ENV"), Some("/envs/e"));
        assert_eq!((get("TZ"), get("SEED"), get("TMPDIR")), (Some("UTC"), Some("7"), Some("/t")));
    }

    #[test]
    fn the_server_is_reached_without_a_proxy_unless_the_job_says_otherwise() {
        let both = |launch: &Launch, server: &[(&str, &str)]| {
            let vars = for_job(launch, None, Path::new("/t"), pairs(server));
            PROXY_EXCEPTIONS.map(|it| vars.get(OsStr::new(it)).and_then(|it| it.to_str()).map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(both(&launch(), &[]), [some("127.0.0.1"), some("127.0.0.1")]);
        let all = some("corp.example,127.0.0.1");
        assert_eq!(both(&launch(), &[("no_proxy", "corp.example")]), [all.clone(), all]);
        let mut own = launch();
        own.env.insert("NO_PROXY".into(), "mine".into());
        assert_eq!(both(&own, &[]), [some("mine"), None]);
    }

    #[test]
    fn what_a_job_sets_stays_unless_the_platform_refuses_it() {
        let server = [("PATH", "/bin"), ("LANG", "C"), ("HTTP_PROXY", "p"), ("NO_PROXY", "n"), ("SSL_CERT_FILE", "c")];
        let mut all = launch();
        all.env.clear();
        all.devices.clear();
        let ours = for_job(&all, Some(Path::new("/envs/e")), Path::new("/t"), pairs(&server));
        for (name, value) in &ours {
            let name = name.to_str().expect("text");
            let mut own = all.clone();
            own.env.insert(name.to_owned(), "mine".to_owned());
            let vars = for_job(&own, Some(Path::new("/envs/e")), Path::new("/t"), pairs(&server));
            let got = vars.get(OsStr::new(name)).and_then(|it| it.to_str()).expect("a value");
            // `PATH` is the job's own behind its environment's programs.
            let is_kept = got == "mine" || (name == "PATH" && got == "/envs/e/bin:mine");
            let is_refused = kaogong_domain::variables::check(name, Some("mine"), true).is_err();
            assert_ne!(is_kept, is_refused, "{name} was {value:?} and became {got}");
        }
    }

    #[test]
    fn secrets_of_the_machine_are_found() {
        let all = [
            ("HTTPS_PROXY", "http://me:pass-of-proxy@proxy:3128/"),
            ("UV_INDEX", "a=https://token-of-index@host/simple b=https://u:second-one@other/"),
            ("UV_PUBLISH_TOKEN", "pypi-token"),
            ("PATH", "/bin"),
            ("NO_PROXY", "a@b"),
        ];
        let found = secrets_of_machine(pairs(&all));
        assert_eq!(found, ["pass-of-proxy", "token-of-index", "second-one", "pypi-token"]);
    }

    #[test]
    fn only_granted_devices_are_seen() {
        let vars = for_job(&launch(), None, Path::new("/t"), pairs(&[]));
        for name in DEVICES {
            let expected = if name == "MLU_VISIBLE_DEVICES" { "3" } else { "" };
            assert_eq!(vars.get(&OsString::from(name)), Some(&expected.into()), "{name}");
        }
    }

    #[test]
    fn thread_pools_hear_of_the_processors_unless_the_job_says_otherwise() {
        let vars = for_job(&launch(), None, Path::new(&"/long".repeat(30)), pairs(&[]));
        assert_eq!(vars.get(&OsString::from("MKL_NUM_THREADS")), Some(&"2".into()));
        assert_eq!(vars.get(&OsString::from("OMP_NUM_THREADS")), Some(&"9".into()));
        assert_eq!(vars.get(&OsString::from("TMPDIR")), None);
    }
}
