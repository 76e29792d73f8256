// Everything that the server puts on record (`Change::new` in crates/store); both dictionaries have words for each.
export const ACTIONS = [
  "session.opened", "session.closed", "sign_in.refused", "sign_in_link.created", "sign_in_link.used", "secret.set", "secret.deleted", "token.created",
  "token.revoked", "user.created", "user.disabled", "user.password_changed", "organisation.created", "project.created",
  "member.set", "member.removed", "backup.taken",
  "dataset.created", "dataset.version_created", "dataset.deleted",
  "job.submitted", "job.cancel_asked", "job.queued", "job.admitted", "job.starting", "job.running", "job.succeeded",
  "job.failed", "job.cancelled", "job.lost",
  "experiment.created", "experiment.renamed", "experiment.deleted", "experiment.restored", "experiment.tag_set",
  "experiment.tag_deleted",
  "run.created", "run.running", "run.scheduled", "run.finished", "run.failed", "run.killed", "run.deleted", "run.restored",
  "run.renamed", "run.tag_deleted", "run.inputs_logged", "run.outputs_logged",
  "logged_model.created", "logged_model.finalized", "logged_model.params_logged", "logged_model.tags_changed",
  "logged_model.deleted",
  "model.created", "model.updated", "model.renamed", "model.deleted", "model.version_created",
  "model.version_updated", "model.version_deleted", "model.alias_set", "model.alias_deleted",
  "endpoint.created", "endpoint.updated", "endpoint.deleted",
] as const;
