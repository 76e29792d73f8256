//! The connection: where the server is, who is calling, and the loop that tries again.

use crate::{
    call::{Answer, Call},
    fault::{self, deepest},
    retry::{self, Patience, Trouble},
};
use kaogong_domain::{Problem, Secret};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Told once per wait when the server does not answer at once; gets the address and the reason.
pub type WaitNotice = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What a client is made from.
#[derive(Clone)]
pub struct Settings {
    /// The server's address: `http://127.0.0.1:7300`.
    pub url: String,
    /// The API token.
    pub token: Option<Secret>,
    /// The project that project routes mean.
    pub project: String,
    /// How long to wait for a server that does not answer.
    pub patience: Patience,
    /// What the program calls itself: `cli/0.1.0`.
    pub agent: String,
    /// Told when a wait begins.
    pub on_wait: Option<WaitNotice>,
}

/// A typed client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
    base: Arc<reqwest::Url>,
    has_answered: Arc<AtomicBool>,
}

impl Client {
    /// A client for `settings`; connects to nothing yet.
    ///
    /// # Errors
    /// `Invalid` for an address that is none.
    pub fn new(mut settings: Settings) -> Result<Self, Problem> {
        settings.url = settings.url.trim().trim_end_matches('/').to_owned();
        let bad = |why: &str| {
            Problem::invalid(format!("`{}` is not the address of a server: {why}", settings.url))
                .hint("write it like http://127.0.0.1:7300")
        };
        let base = reqwest::Url::parse(&settings.url).map_err(|it| bad(&it.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad("it must begin with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("it must not hold a password"));
        }
        let http = build_http(&base, &settings.agent)?;
        Ok(Self {
            http,
            settings: Arc::new(settings),
            base: Arc::new(base),
            has_answered: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The server's address, without a slash at its end.
    pub fn address(&self) -> &str {
        &self.settings.url
    }

    /// The project that project routes mean.
    pub fn project(&self) -> &str {
        &self.settings.project
    }

    /// The API token.
    pub fn token(&self) -> Option<&Secret> {
        self.settings.token.as_ref()
    }

    /// The address of a path given in parts; each part is escaped, so that no name changes the path.
    pub(crate) fn url(&self, parts: &[&str]) -> reqwest::Url {
        let mut url = (*self.base).clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Sends a call until it is answered, it may not be repeated, or patience ends. Answers of another
    /// status than 200 to 299 become problems.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Problem> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let (trouble, problem) = match self.try_once(call).await? {
                Tried::Answered(answer) => return Ok(answer),
                Tried::Failed(trouble, problem) => (trouble, problem),
            };
            tries += 1;
            let pause = retry::pause(tries, chance());
            let patience = self.patience_for(trouble);
            if !retry::may_repeat(call.repeat, trouble) || began.elapsed() + pause > patience {
                return Err(problem);
            }
            if tries == 4
                && let Some(notice) = &self.settings.on_wait
            {
                notice(self.address(), &problem.text);
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn patience_for(&self, trouble: Trouble) -> Duration {
        let has_answered = trouble == Trouble::Busy || self.has_answered.load(Ordering::Relaxed);
        if has_answered { self.settings.patience.later } else { self.settings.patience.first }
    }

    async fn try_once(&self, call: &Call) -> Result<Tried, Problem> {
        let mut request = self.http.request(call.method.clone(), call.url.clone());
        if let Some(limit) = call.limit {
            request = request.timeout(limit);
        }
        if let Some(token) = self.token() {
            request = request.bearer_auth(token.expose());
        }
        if let Some(media_type) = call.body.media_type() {
            request = request.header(reqwest::header::CONTENT_TYPE, media_type);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = call.body.body()? {
            request = request.body(body);
        }
        match request.send().await {
            Ok(response) => self.judge(response).await,
            Err(error) => self.failed(&error),
        }
    }

    async fn judge(&self, response: reqwest::Response) -> Result<Tried, Problem> {
        self.has_answered.store(true, Ordering::Relaxed);
        let status = response.status().as_u16();
        match status {
            200..=299 => return Ok(Tried::Answered(Answer::new(response, self.address()))),
            // Not followed: the token would go to whoever is there.
            300..=399 => return Err(fault::redirected(self.address(), status, target_of(&response).as_deref())),
            _ => {}
        }
        let body = crate::call::read_bounded(response, crate::call::ERROR_BYTES_MAX).await.unwrap_or_default();
        let problem = fault::refused(self.address(), status, &body);
        match status {
            429 | 502 | 503 => Ok(Tried::Failed(Trouble::Busy, problem)),
            _ => Err(problem),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> Result<Tried, Problem> {
        if error.is_builder() {
            return Err(Problem::invalid(format!("the call to {} cannot be made: {}", self.address(), deepest(error))));
        }
        if let Some(own) = body_error(error) {
            return Err(Problem::unavailable(format!("the upload stopped: {own}")));
        }
        let trouble = if error.is_connect() { Trouble::NotSent } else { Trouble::Broken };
        Ok(Tried::Failed(trouble, fault::unreachable(self.address(), deepest(error))))
    }
}

/// Where a redirect leads. Without what may be a secret of a sign-in page.
fn target_of(response: &reqwest::Response) -> Option<String> {
    let location = response.headers().get(reqwest::header::LOCATION)?.to_str().ok()?;
    let mut target = response.url().join(location).ok()?;
    target.set_query(None);
    target.set_fragment(None);
    // An address that takes no name or password holds none.
    let _ = target.set_username("").and_then(|()| target.set_password(None));
    Some(target.into())
}

enum Tried {
    Answered(Answer),
    Failed(Trouble, Problem),
}

fn build_http(base: &reqwest::Url, agent: &str) -> Result<reqwest::Client, Problem> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(format!("kaogong-{agent}"));
    let mut headers = reqwest::header::HeaderMap::new();
    if let Ok(value) = agent.parse() {
        headers.insert("x-kaogong-client", value);
    }
    builder = builder.default_headers(headers);
    if is_loopback(base) {
        // A proxy meant for the way out must not be asked for this machine.
        builder = builder.no_proxy();
    }
    if base.scheme() == "http" {
        // Without this a machine without root certificates could not even speak plain HTTP.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|it| Problem::unavailable(format!("cannot prepare connections: {}", deepest(&it))))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// The error of the thread that makes the body, if that is what ended the call: local files cannot be
/// read, and trying again would not help.
fn body_error(error: &reqwest::Error) -> Option<String> {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(here) = at {
        if let Some(own) = here.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(own) = own.downcast_ref::<crate::local_fault::LocalFault>()
        {
            return Some(own.to_string());
        }
        if let Some(own) = here.downcast_ref::<crate::local_fault::LocalFault>() {
            return Some(own.to_string());
        }
        at = here.source();
    }
    None
}

fn chance() -> u8 {
    let mut byte = [0u8];
    // Without randomness the pauses are merely less spread.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}
