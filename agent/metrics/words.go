package metrics

// What whoever browses the metrics reads about each. One sentence, with what a
// label means where its name does not say it.
const (
	helpRequests = "Requests of apps by vault and status code of the answer, those that the agent refused included; " +
		"code 499 is an app that left before its answer."
	helpOverhead = "Time that a request of an app spent in the agent until the header of its answer, without the time in which " +
		"it waited for Vault, for the app's own body or for a person."
	helpChallenges = "Answers that took part in a step-up, by rule, grant and the word of their Stepup-Outcome header; " +
		"logins that Vault held for a second factor have no rule and the grant login_mfa, waits for the approval of others the grant control_group."
	helpPrompts = "How long prompts were open, by kind and by how they ended; a push ends as done when Vault has decided it."
	helpPending = "Prompts that are open now, push notices included."
	helpCached  = "Step-up tokens that are kept in memory now, by rule; those that an earlier agent left in the keyring count once they were looked up."
	helpLookups = "Searches for a cached step-up token under a rule with a token or login grant, by result: hit, miss, or error " +
		"where the store could not be asked."
	helpKeyring = "Uses of the keyring that failed, by operation: get, put, delete, list."
	helpReloads = "Reloads of the configuration by result: success, or failure where the one from before stayed in force."
	helpUp      = "Whether the Vault could be reached lately, sealed or not: 1 or 0; it is asked by scrapes, at most once in ten seconds."
)
