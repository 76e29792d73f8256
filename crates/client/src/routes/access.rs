//! Sessions, users, organisations, projects, members and tokens.

use crate::{Client, call::Call};
use kaogong_api::{Page, access::*};
use kaogong_domain::Problem;

impl Client {
    /// Who is calling. `GET /session`
    pub async fn me(&self) -> Result<MeView, Problem> {
        self.json(Call::get(self.route(&["session"]))).await
    }

    /// Signs in with a password; gives the view and the session's cookie. `POST /session`
    pub async fn sign_in(&self, name: &str, password: &str) -> Result<Session, Problem> {
        let body = SignIn { name: name.to_owned(), password: password.to_owned() };
        self.session(Call::post(self.route(&["session"])).json(&body)?).await
    }

    /// Signs in with the code of a one-time link. `POST /session/code`
    pub async fn sign_in_with_code(&self, code: &str) -> Result<Session, Problem> {
        let body = SignInWithCode { code: code.to_owned() };
        self.session(Call::post(self.route(&["session", "code"])).json(&body)?).await
    }

    async fn session(&self, call: Call) -> Result<Session, Problem> {
        let answer = self.send(&call).await?;
        let cookie = answer.header("set-cookie").and_then(|it| it.split(';').next()).map(str::to_owned);
        let me: MeView = answer.json().await?;
        let cookie = cookie.ok_or_else(|| Problem::unavailable("the server gave no session to sign in with"))?;
        Ok(Session { me, cookie })
    }

    /// Makes a token with a browser session instead of a token. `POST /tokens`
    pub async fn new_token_in_session(&self, session: &Session, token: &NewToken) -> Result<NewTokenView, Problem> {
        self.json(self.in_session(Call::post(self.route(&["tokens"])), session).json(token)?).await
    }

    /// Ends a browser session. `DELETE /session`
    pub async fn sign_out(&self, session: &Session) -> Result<(), Problem> {
        self.nothing(self.in_session(Call::delete(self.route(&["session"])), session)).await
    }

    fn in_session(&self, call: Call, session: &Session) -> Call {
        let csrf = session.me.csrf_token.clone().unwrap_or_default();
        call.header("cookie", session.cookie.clone()).header("x-csrf-token", csrf)
    }

    /// A one-time link for the caller. `POST /sign-in-links`
    pub async fn sign_in_link(&self) -> Result<SignInLink, Problem> {
        // A second link does no harm: it ends by itself.
        self.json(Call::post(self.route(&["sign-in-links"])).repeatable(true)).await
    }

    /// `GET /users`
    pub async fn users(&self) -> Result<Page<UserView>, Problem> {
        self.json(Call::get(self.route(&["users"]))).await
    }

    /// `POST /users`
    pub async fn new_user(&self, user: &NewUser) -> Result<NewUserView, Problem> {
        self.json(Call::post(self.route(&["users"])).json(user)?).await
    }

    /// Refuses the user's sign-in from now on. `DELETE /users/{user}`
    pub async fn disable_user(&self, user: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.route(&["users", user]))).await
    }

    /// `PUT /users/{user}/password`
    pub async fn change_password(&self, user: &str, change: &PasswordChange) -> Result<(), Problem> {
        self.nothing(Call::put(self.route(&["users", user, "password"])).json(change)?).await
    }

    /// `GET /organisations`
    pub async fn organisations(&self) -> Result<Page<OrganisationView>, Problem> {
        self.json(Call::get(self.route(&["organisations"]))).await
    }

    /// `POST /organisations`
    pub async fn new_organisation(&self, organisation: &NewOrganisation) -> Result<OrganisationView, Problem> {
        self.json(Call::post(self.route(&["organisations"])).json(organisation)?).await
    }

    /// `GET /projects`
    pub async fn projects(&self) -> Result<Page<ProjectView>, Problem> {
        self.json(Call::get(self.route(&["projects"]))).await
    }

    /// `GET /projects/{project}`
    pub async fn project_view(&self, project: &str) -> Result<ProjectView, Problem> {
        self.json(Call::get(self.route(&["projects", project]))).await
    }

    /// `POST /projects`
    pub async fn new_project(&self, project: &NewProject) -> Result<ProjectView, Problem> {
        self.json(Call::post(self.route(&["projects"])).json(project)?).await
    }

    /// `GET /projects/{project}/members`
    pub async fn members(&self) -> Result<Page<MemberView>, Problem> {
        self.json(Call::get(self.project_route(&["members"]))).await
    }

    /// `PUT /projects/{project}/members/{user}`
    pub async fn set_member(&self, user: &str, role: &str) -> Result<MemberView, Problem> {
        let body = RoleChange { role: role.to_owned() };
        self.json(Call::put(self.project_route(&["members", user])).json(&body)?).await
    }

    /// `DELETE /projects/{project}/members/{user}`
    pub async fn remove_member(&self, user: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.project_route(&["members", user]))).await
    }

    /// The project's secrets, without their values. `GET /projects/{project}/secrets`
    pub async fn secrets(&self) -> Result<Page<SecretView>, Problem> {
        self.json(Call::get(self.project_route(&["secrets"]))).await
    }

    /// `PUT /projects/{project}/secrets/{secret}`
    pub async fn set_secret(&self, name: &str, value: &str) -> Result<SecretView, Problem> {
        let body = SecretChange { value: value.to_owned() };
        self.json(Call::put(self.project_route(&["secrets", name])).json(&body)?).await
    }

    /// `DELETE /projects/{project}/secrets/{secret}`
    pub async fn delete_secret(&self, name: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.project_route(&["secrets", name]))).await
    }

    /// The caller's own tokens. `GET /tokens`
    pub async fn tokens(&self) -> Result<Page<TokenView>, Problem> {
        self.json(Call::get(self.route(&["tokens"]))).await
    }

    /// `POST /tokens`
    pub async fn new_token(&self, token: &NewToken) -> Result<NewTokenView, Problem> {
        self.json(Call::post(self.route(&["tokens"])).json(token)?).await
    }

    /// `DELETE /tokens/{id}`
    pub async fn delete_token(&self, id: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.route(&["tokens", id]))).await
    }
}

/// A browser session, as the command line uses it for a moment to make a token.
pub struct Session {
    /// Who signed in.
    pub me: MeView,
    cookie: String,
}
