//! The closed list of what can happen: the actions of the event log, which audit, streams and pages walk.

use crate::{jobs::JobState, runs::RunStatus};

/// The nouns that events belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Noun {
    /// Users, tokens, members, secrets, the server itself.
    Access,
    /// Datasets and their versions.
    Datasets,
    /// Jobs.
    Jobs,
    /// Experiments, runs and what they logged.
    Runs,
    /// Registered models and their versions.
    Models,
    /// Endpoints.
    Endpoints,
}

impl Noun {
    /// All nouns.
    pub const ALL: [Self; 6] = [Self::Access, Self::Datasets, Self::Jobs, Self::Runs, Self::Models, Self::Endpoints];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Datasets => "datasets",
            Self::Jobs => "jobs",
            Self::Runs => "runs",
            Self::Models => "models",
            Self::Endpoints => "endpoints",
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $noun:ident $word:literal;)*) => {
        /// An action of the event log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventAction { $($(#[$doc])* $name,)* }

        impl EventAction {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word used on the wire and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it happens to.
            pub fn noun(self) -> Noun {
                match self { $(Self::$name => Noun::$noun,)* }
            }
        }
    };
}

actions! {
    /// The database was copied for a backup.
    BackupTaken = Access "backup.taken";
    /// A member's role was set.
    MemberSet = Access "member.set";
    /// A member was removed.
    MemberRemoved = Access "member.removed";
    /// An organisation was created.
    OrganisationCreated = Access "organisation.created";
    /// A project was created.
    ProjectCreated = Access "project.created";
    /// A secret was set.
    SecretSet = Access "secret.set";
    /// A secret was deleted.
    SecretDeleted = Access "secret.deleted";
    /// A browser session was opened.
    SessionOpened = Access "session.opened";
    /// A browser session was closed.
    SessionClosed = Access "session.closed";
    /// Somebody tried to sign in and was refused.
    SignInRefused = Access "sign_in.refused";
    /// A link that signs in once was created.
    SignInLinkCreated = Access "sign_in_link.created";
    /// Such a link was used.
    SignInLinkUsed = Access "sign_in_link.used";
    /// A token was created.
    TokenCreated = Access "token.created";
    /// A token was revoked.
    TokenRevoked = Access "token.revoked";
    /// A user was created.
    UserCreated = Access "user.created";
    /// A user was disabled.
    UserDisabled = Access "user.disabled";
    /// A user's password was changed.
    UserPasswordChanged = Access "user.password_changed";
    /// A dataset was created.
    DatasetCreated = Datasets "dataset.created";
    /// A dataset was deleted.
    DatasetDeleted = Datasets "dataset.deleted";
    /// A version of a dataset was created.
    DatasetVersionCreated = Datasets "dataset.version_created";
    /// A job was submitted.
    JobSubmitted = Jobs "job.submitted";
    /// A job was asked to stop.
    JobCancelRequested = Jobs "job.cancel_asked";
    /// A job waits again, for its next attempt.
    JobQueued = Jobs "job.queued";
    /// A job has been given its capacity.
    JobAdmitted = Jobs "job.admitted";
    /// A runner has taken a job.
    JobStarting = Jobs "job.starting";
    /// A job's command runs.
    JobRunning = Jobs "job.running";
    /// A job succeeded.
    JobSucceeded = Jobs "job.succeeded";
    /// A job failed.
    JobFailed = Jobs "job.failed";
    /// A job was cancelled.
    JobCancelled = Jobs "job.cancelled";
    /// A job was lost by its runner.
    JobLost = Jobs "job.lost";
    /// An experiment was created.
    ExperimentCreated = Runs "experiment.created";
    /// An experiment was renamed.
    ExperimentRenamed = Runs "experiment.renamed";
    /// An experiment was deleted.
    ExperimentDeleted = Runs "experiment.deleted";
    /// An experiment was restored.
    ExperimentRestored = Runs "experiment.restored";
    /// A tag of an experiment was set.
    ExperimentTagSet = Runs "experiment.tag_set";
    /// A tag of an experiment was deleted.
    ExperimentTagDeleted = Runs "experiment.tag_deleted";
    /// A run was created.
    RunCreated = Runs "run.created";
    /// A run goes on again.
    RunRunning = Runs "run.running";
    /// A run is to begin later.
    RunScheduled = Runs "run.scheduled";
    /// A run finished.
    RunFinished = Runs "run.finished";
    /// A run failed.
    RunFailed = Runs "run.failed";
    /// A run was killed.
    RunKilled = Runs "run.killed";
    /// A run was deleted.
    RunDeleted = Runs "run.deleted";
    /// A run was restored.
    RunRestored = Runs "run.restored";
    /// A run was renamed.
    RunRenamed = Runs "run.renamed";
    /// A tag of a run was deleted.
    RunTagDeleted = Runs "run.tag_deleted";
    /// The datasets that a run used were logged.
    RunInputsLogged = Runs "run.inputs_logged";
    /// The models that a run made were logged.
    RunOutputsLogged = Runs "run.outputs_logged";
    /// Artifacts of a run, or of a model, were deleted.
    ArtifactDeleted = Runs "artifact.deleted";
    /// A logged model was created.
    LoggedModelCreated = Runs "logged_model.created";
    /// A logged model's files are complete, or failed to be.
    LoggedModelFinalized = Runs "logged_model.finalized";
    /// Parameters of a logged model were logged.
    LoggedModelParamsLogged = Runs "logged_model.params_logged";
    /// Tags of a logged model were changed.
    LoggedModelTagsChanged = Runs "logged_model.tags_changed";
    /// A logged model was deleted.
    LoggedModelDeleted = Runs "logged_model.deleted";
    /// A model was created.
    ModelCreated = Models "model.created";
    /// A model's description or tags were changed.
    ModelUpdated = Models "model.updated";
    /// A model was renamed.
    ModelRenamed = Models "model.renamed";
    /// A model was deleted.
    ModelDeleted = Models "model.deleted";
    /// A version of a model was registered.
    ModelVersionCreated = Models "model.version_created";
    /// A version's description, stage or tags were changed.
    ModelVersionUpdated = Models "model.version_updated";
    /// A version was deleted.
    ModelVersionDeleted = Models "model.version_deleted";
    /// An alias was set.
    ModelAliasSet = Models "model.alias_set";
    /// An alias was deleted.
    ModelAliasDeleted = Models "model.alias_deleted";
    /// An endpoint was created.
    EndpointCreated = Endpoints "endpoint.created";
    /// An endpoint's version or settings were changed.
    EndpointUpdated = Endpoints "endpoint.updated";
    /// An endpoint was deleted.
    EndpointDeleted = Endpoints "endpoint.deleted";
}

impl EventAction {
    /// The action of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == word)
    }
}

impl From<JobState> for EventAction {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::JobQueued,
            JobState::Admitted => Self::JobAdmitted,
            JobState::Starting => Self::JobStarting,
            JobState::Running => Self::JobRunning,
            JobState::Succeeded => Self::JobSucceeded,
            JobState::Failed => Self::JobFailed,
            JobState::Cancelled => Self::JobCancelled,
            JobState::Lost => Self::JobLost,
        }
    }
}

impl From<RunStatus> for EventAction {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Running => Self::RunRunning,
            RunStatus::Scheduled => Self::RunScheduled,
            RunStatus::Finished => Self::RunFinished,
            RunStatus::Failed => Self::RunFailed,
            RunStatus::Killed => Self::RunKilled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_action_has_its_own_word_of_two_parts() {
        let words: BTreeSet<&str> = EventAction::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), EventAction::ALL.len());
        for action in EventAction::ALL {
            let word = action.as_str();
            let parts: Vec<&str> = word.split('.').collect();
            let is_plain = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(parts.len() == 2 && parts.iter().all(|it| is_plain(it)), "{word}");
            assert_eq!(EventAction::parse(word), Some(*action));
        }
        assert_eq!(EventAction::parse("run.vanished"), None);
    }

    #[test]
    fn states_have_their_actions() {
        for state in JobState::ALL {
            assert_eq!(EventAction::from(state).as_str(), format!("job.{}", state.as_str()));
        }
    }
}
