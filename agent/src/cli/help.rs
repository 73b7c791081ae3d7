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

pub(super) const RENDER: &str = "\
The configuration is that of an agent: --config, or the text in $CLOAKROOM_CONFIG_INLINE, or the file
that $CLOAKROOM_CONFIG names. It exits 0, or 1 with a line for each required file that failed. A file
that fails leaves the one that was there before. What may be better in a moment is tried again for
--wait seconds; what is denied or missing is not. No agent need run, and nobody is told of changes.

Example:
  cloakroom render --config /etc/cloakroom/cloakroom.yaml";

pub(super) const EXEC: &str = "\
A placeholder is $<ID>, as a whole value or inside a longer one; arguments are passed on as they
are. All values or nothing: where one cannot be had, CMD is not started, and the variables are named.
Variables whose names begin with CLOAKROOM_ are not passed on. --clear-env keeps PATH, HOME and the
variables that hold a placeholder.

Without --watch this process becomes CMD, whose signals and exit status are then its own. With it,
cloakroom stays: it passes signals on, reaps as process 1, and ends with the status of CMD, 128+N
after signal N. A program cannot be given a new environment: choose a signal on which it reads its
values elsewhere, or ends to be started anew. A deleted secret is told on standard error only.
The first 8 secrets are heard of at once, others within a minute.

Exit status: that of CMD; 126 if it cannot be run, 127 if it is not found; before that 3 denied,
4 no such secret, 5 no agent within --wait.

Examples:
  DB_PASSWORD='$<poc:eni--hyperion:my-app:externalSecrets/foo/password:>' cloakroom exec -- env
  cloakroom exec --clear-env -- /app/server --port 8080
  cloakroom exec --watch SIGTERM -- /app/server";

pub(super) const INSTALL: &str = "\
The copy is complete before it has its name, has mode 0755, and needs nothing of its container: no
shell and no library, where this program is the one of a release.

Example:
  cloakroom install /cloakroom/bin";

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

pub(super) const RESOLVE: &str = "\
Placeholders in strings are replaced, escaped as the format asks for; keys and comments stay. In a
text, values stand as they are, without any escaping.

Examples:
  cloakroom resolve manifest.yaml | kubectl apply -f -
  cloakroom resolve --path /spec/auth --path '/spec/apis/*/secret' payload.json
  cloakroom resolve --content-type text < application.conf";

pub(super) const OBFUSCATE: &str = "\
Each plain string at a POINTER becomes an entry of the slot, all of them in one write. In a POINTER
* is any member or item. In a KEY {name} stands for what the string's sibling of that name holds, so
that it does not depend on positions; without a KEY it is the pointer. A POINTER ends at the first =.

Examples:
  cloakroom obfuscate --scope poc/eni--hyperion/my-app --slot externalSecrets \\
    --path '/spec/apis/*/clientSecret={basePath}/clientSecret' rover.yaml
  cloakroom obfuscate --scope poc --slot zones --path /token - < zone.json";

pub(super) const WATCH: &str = "\
One id a line. When the secret is deleted, the id has no checksum, and so ends with a colon; the
watch goes on. When the agent ends it, because it stops or the right is taken away, the exit status
is 5.

Example:
  cloakroom watch poc:eni--hyperion:my-app:clientSecret: | while read -r id; do echo \"$id\"; done";

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
--online logs in with the credentials that the file names, so run it where the agent runs. It reads
no secret and changes nothing. Exit 0: an agent would work; 3: it is refused; 5: the backend cannot
be reached; 1: something else is wrong.

Examples:
  cloakroom config check /etc/cloakroom/cloakroom.yaml
  cloakroom config check /etc/cloakroom/cloakroom.yaml --online
  cloakroom config check - < cloakroom.yaml";

pub(super) const CONFIG_SCHEMA: &str = "\
Example:
  cloakroom config schema > cloakroom.schema.json";

pub(super) const CONJUR_POLICY: &str = "\
It asks nothing of anybody: load what it prints as an administrator of the account, into its root.
Loading it again changes nothing, so that more service accounts can be added in the same way. It
takes nothing away. `create` on a branch, which --onboarder gives, suffices to take everything in it.

Examples:
  cloakroom conjur policy --onboarder control-plane:rover > policy.yaml
  conjur policy load -b root -f policy.yaml
  cloakroom conjur policy --without-authenticator --reader poc/eni--hyperion/my-app=team-a:my-app
  cloakroom conjur policy --config cloakroom.yaml --grants grants.yaml --may-delete";

pub(super) const COMPLETIONS: &str = "\
Examples:
  source <(cloakroom completions bash)
  cloakroom completions zsh > \"${fpath[1]}/_cloakroom\"
  cloakroom completions fish > ~/.config/fish/completions/cloakroom.fish";
