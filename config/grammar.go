package config

// A shape is what a block may hold. It is the one list of every word of the
// grammar: an argument that is read but not here would be called unknown.
type shape struct {
	label  string // what the one label is; "" for a block without label
	once   bool
	args   []string
	blocks []string
}

// top is the name of the file's own shape.
const top = ""

// grammar maps a block, by its dotted path, to its shape.
func grammar() map[string]shape {
	return map[string]shape{
		top: {blocks: []string{
			"vault", "listener", "mfa_method", "step_up", "login_mfa",
			"prompt", "cache", "relay", "audit", "telemetry", "log",
		}},
		"vault": {label: "a name", args: []string{
			"address", "namespace", "ca_cert", "ca_path", "client_cert", "client_key",
			"tls_server_name", "tls_skip_verify", "max_kept_body", "timeout",
		}},
		"listener":   {label: `"tcp" or "unix"`, args: []string{"address", "vault", "require_request_header"}},
		"mfa_method": {label: "the name or ID of the method in Vault", args: []string{"type", "digits", "passcode", "passcode_command", "passcode_source"}},
		"step_up": {
			label:  "a name",
			args:   []string{"paths", "capabilities", "namespace", "methods", "vault", "prompt"},
			blocks: []string{"grant", "sentinel", "control_group"},
		},
		"step_up.sentinel":      {label: "the name of the policy in Vault", args: []string{"methods"}},
		"step_up.control_group": {args: []string{"timeout", "approvers"}},
		"step_up.grant":         {label: `"header", "token" or "login"`},
		"step_up.grant.header":  {},
		"step_up.grant.token":   {args: []string{"path", "policies", "ttl", "num_uses", "no_parent", "eager", "max_ttl", "revoke_on_stop"}},
		"step_up.grant.login":   {args: []string{"path", "password", "command", "eager", "max_ttl", "revoke_on_stop"}},
		"login_mfa": {once: true, args: []string{
			"enabled", "prefer", "legacy_mounts", "okta_mounts", "single_phase", "single_phase_methods", "single_phase_mounts",
		}},
		"prompt": {once: true, args: []string{
			"use", "command", "timeout", "attempts", "cooldown", "confirm_push", "max_pending", "never", "detached",
		}},
		"cache":     {once: true, args: []string{"store", "max_ttl", "lock_on"}},
		"relay":     {once: true, args: []string{"max_kept_bodies"}},
		"audit":     {once: true, args: []string{"file"}},
		"telemetry": {once: true, args: []string{"address", "other_users"}},
		"log":       {once: true, args: []string{"level", "format"}},
	}
}

// notYet lists what the grammar knows and the agent does not do yet, by dotted
// path, with "=value" where only that value is meant. Taking a line out here is
// all there is to do when it works.
func notYet() map[string]string {
	return map[string]string{}
}
