//! The examples at the end of every help text. Each can be pasted; a snapshot test pins them.

pub(super) const ROOT: &str = "\
Examples:
  cloakroom agent --dev
  cloakroom onboard app poc eni--hyperion my-app --secret externalSecrets/foo/password=s3cr3t
  cloakroom get poc:eni--hyperion:my-app:externalSecrets/foo/password:

The socket is --socket, else $CLOAKROOM_SOCKET, else the first that exists of
/run/cloakroom/agent/agent.sock and the one of `cloakroom agent --dev`.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 not found, 5 unavailable (try again),
64 invalid configuration.";

pub(super) const AGENT: &str = "\
The configuration is --config, or the text in $CLOAKROOM_CONFIG_INLINE, or the file that
$CLOAKROOM_CONFIG names: exactly one of them, or --dev. $CLOAKROOM_LOG filters the log.

--dev keeps its state in $XDG_STATE_HOME/cloakroom, else ~/.local/state/cloakroom, and listens on
$XDG_RUNTIME_DIR/cloakroom/agent.sock, else in the state directory.

Examples:
  cloakroom agent --dev
  cloakroom agent --config /etc/cloakroom/cloakroom.yaml
  cloakroom agent --dev --state-dir ./state --admin 127.0.0.1:9187";

pub(super) const READY: &str = "\
It asks once, for at most 2 seconds, and never waits for the backend.

Example:
  until cloakroom ready; do sleep 1; done";

pub(super) const GET: &str = "\
Examples:
  cloakroom get poc:eni--hyperion:my-app:clientSecret:
  PASSWORD=\"$(cloakroom get '$<poc:eni--hyperion:my-app:externalSecrets/foo/password:>')\"";

pub(super) const PUT: &str = "\
Exactly one of --value, --file and - gives the value. It must be UTF-8 text, and nothing of it is
trimmed: a newline at its end is stored.

Examples:
  printf %s \"$NEW\" | cloakroom put poc:eni--hyperion:my-app:externalSecrets/foo/password: -
  cloakroom put poc:eni--hyperion:my-app:externalSecrets/foo/key: --file key.pem
  cloakroom put poc:eni--hyperion:my-app:clientSecret: --value rotate";

pub(super) const ROTATE: &str = "\
Examples:
  cloakroom rotate poc:eni--hyperion:my-app:clientSecret:
  cloakroom rotate poc:eni--hyperion:my-app:clientSecret: --keep-previous rotatedClientSecret";

pub(super) const DELETE: &str = "\
Example:
  cloakroom delete poc:eni--hyperion:my-app:externalSecrets/foo/password:";

pub(super) const ONBOARD: &str = "\
A NAME is a slot, or slot/key. A value that itself starts with @ needs a file. Nothing of a file is
trimmed: a newline at its end is stored. Other processes of this machine can read a VALUE from the
argument list, but not a FILE.

Examples:
  cloakroom onboard environment poc
  cloakroom onboard team poc eni--hyperion --secret teamToken=@token
  cloakroom onboard app poc eni--hyperion my-app --strategy merge \\
    --secret externalSecrets/foo/password=s3cr3t --secret externalSecrets/foo/key=@key.pem";

pub(super) const OFFBOARD: &str = "\
Example:
  cloakroom offboard app poc eni--hyperion my-app";

pub(super) const WHOAMI: &str = "\
Examples:
  cloakroom whoami
  cloakroom whoami --scope poc/eni--hyperion/my-app";

pub(super) const STATUS: &str = "\
Examples:
  cloakroom status
  cloakroom status --watch --json";

pub(super) const CAN_I: &str = "\
It asks the API server about Cloakroom's own group, cloakroom.dev, which `kubectl auth can-i` does
not know: through kubectl and its kubeconfig, or in a pod with the token of its agent. --as takes
`create` on subjectaccessreviews. Where a grants file decides, ask the agent instead:
`cloakroom whoami --scope SCOPE`.

Examples:
  cloakroom can-i secrets_read poc/eni--hyperion/my-app
  cloakroom can-i onboarding_write poc --as system:serviceaccount:control-plane:rover";

pub(super) const CONFIG_CHECK: &str = "\
Examples:
  cloakroom config check /etc/cloakroom/cloakroom.yaml
  cloakroom config check - < cloakroom.yaml";

pub(super) const CONFIG_SCHEMA: &str = "\
Example:
  cloakroom config schema > cloakroom.schema.json";

pub(super) const COMPLETIONS: &str = "\
Examples:
  source <(cloakroom completions bash)
  cloakroom completions zsh > \"${fpath[1]}/_cloakroom\"
  cloakroom completions fish > ~/.config/fish/completions/cloakroom.fish";
