package devvault

// Every text that a client reads. They are Vault's own words, misspellings and
// line breaks included, because clients and the relay compare them.
const (
	textDenied         = "1 error occurred:\n\t* permission denied\n\n"
	textInvalidToken   = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"
	textBareDenied     = "permission denied" // no token; failed single-phase login
	textUnsupported    = "1 error occurred:\n\t* unsupported operation\n\n"
	textUnsupportedRaw = "unsupported operation" // on paths that need no token
	textNoPath         = "1 error occurred:\n\t* unsupported path\n\n"
	textRelativeRead   = "1 error occurred:\n\t* read failed: relative paths not supported\n\n"
	textInternal       = "1 error occurred:\n\t* internal error\n\n"
	textRelative       = "relative paths not supported" // OpenBao
	textNoNamespace    = "namespace not found"          // OpenBao
	textNoRoute        = "no handler for route %q. route entry not found."
	textClosed         = "Vault is sealed"

	textBadJSON        = "error parsing JSON: failed to parse JSON input: %v"
	textBodyTooLarge   = "http: request body too large"
	textPatchType      = "PATCH requires Content-Type of application/merge-patch+json, provided %s"
	textBadField       = "Field validation failed: error converting input for field %q: %s"
	textNegativeUses   = "number of uses cannot be negative"
	textTrailingSlash  = "cannot write to a path ending in '/'"
	textWrapHeader     = "error parsing X-Vault-Wrap-TTL header: %v"
	textWrapNegative   = "requested wrap ttl cannot be negative"
	textMFAHeader      = "failed to parse X-Vault-MFA header: %v"
	textMFANoName      = `invalid data in header "X-Vault-MFA"; missing method name or ID`
	textMFANoValue     = `invalid data in header "X-Vault-MFA"; missing method value`
	textMountPreflight = "preflight capability check returned 403, please ensure client's policies grant access to path %q"
	textNoPaths        = "paths must be supplied"

	textNoPassword  = "invalid credentials"
	textBadPassword = "invalid username or password"
	// The Okta auth method (builtin/credential/okta) and Duo of Vault up to 1.10
	// (helper/mfa/duo, the wording of 1.0; 1.10 has its first letters small). What Duo
	// itself says stands alone.
	textOktaFailed    = "okta authentication failed"
	textOktaDenied    = "multi-factor authentication denied"
	textOktaTimeout   = "failed to complete multi-factor authentication"
	textOktaCanceled  = "exiting pending mfa challenge"
	textOktaCode      = "'totp' passcode parameter is required to perform MFA"
	textOktaNoFactor  = "Okta Verify Push or TOTP or Google TOTP factor is required in order to perform MFA"
	textOktaNonce     = "nonce must be provided during login request when presented with number challenge"
	textOktaProvider  = "provider %s is not among the supported ones [GOOGLE OKTA]"
	textDuoNoConfig   = "Could not load Duo configuration"
	textDuoNoPreauth  = "Could not call Duo preauth"
	textDuoNoAuth     = "Could not call Duo auth"
	textDuoLookup     = "Could not look up Duo user information: Invalid integration key in request credentials (ikey)"
	textDuoWrongCode  = "Incorrect passcode. Please try again."
	textDuoUnenrolled = "Enroll an authentication device to proceed (%s)"
	textDuoLocked     = "Your account is disabled and cannot access this application. Please contact your administrator."

	textUnknownRole     = "unknown role %s"
	textNoOrphan        = "root or sudo privileges required to create orphan token"
	textUsedParent      = "restricted use token cannot generate child tokens"
	textBatchParent     = "batch tokens cannot create more tokens"
	textBatchRevoke     = "batch tokens cannot be revoked"
	textBatchBad        = "batch tokens cannot have %q set"
	textBatchRoot       = "batch tokens cannot be root tokens"
	textBadType         = "invalid 'token_type' value"
	textNoTokenID       = "missing token ID"
	textNoTokenFound    = "token to revoke not found"
	textNoneOfAcc       = "No token found with this accessor"
	textBadToken        = "bad token"
	textNoAccessorGiven = "1 error occurred:\n\t* missing accessor\n\n"
	textNotSubset       = "child policies must be subset of parent"
	textRoleSubset      = "token policies (%q) must be subset of the role's allowed policies (%q) or glob policies ([])"
	textTTLCapped       = "TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly"
	textNotRenew        = "lease is not renewable"

	textInvalidAccessor = "1 error occurred:\n\t* invalid accessor\n\n"

	textKVInvalid = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."
	textKVRoot    = "Non-listing operations on the root of a K/V v2 mount are not supported."
	textKVNoData  = "no data provided"
	textKVCas     = "check-and-set parameter did not match the current version"

	textWrapToken     = "wrapping token is not valid or does not exist"
	textWrapEmpty     = "error validating wrapping token: token is empty"
	textWrapRequired  = "endpoint requires response wrapping to be used"
	textWrapCubbyhole = "Reading from 'cubbyhole/response' is deprecated. Please use sys/wrapping/unwrap to unwrap responses, as it provides additional security checks and other benefits."

	textFurtherApproval = "Request needs further approval"
	textNoAccessor      = "missing accessor"
	textBadAccessor     = "invalid accessor"

	textLoginMFA     = "A login request was issued that is subject to MFA validation. Please make sure to validate the login by sending another request to mfa/validate endpoint."
	textMFAUnused    = "Found MFA header but failed to find MFA Enforcement Config"
	textNoRequestID  = "missing request ID"
	textBadRequestID = "invalid request ID"
	textBadPayload   = "invalid mfa payload"
	textNotMap       = "'%s' expected a map, got '%s'"
	textNamespace    = "1 error occurred:\n\t* original request was issued in a different namesapce %s, current namespace is %s\n\n"
	textNoEnforce    = "1 error occurred:\n\t* found nil or empty MFAEnforcement configuration\n\n"
	textUnsatisfied  = "failed to satisfy enforcement %s. error: %s"
	textNotFound     = "failed to find MFA credentials associated with an MFA method ID %s, method name %s"
	textSanitize     = "failed to sanitize MFA creds, %s"
	textMethodFailed = "login MFA validation failed for methodID: %v"
	textFactor       = "failed to parse MFA factor, %v"

	textHasSecret     = "Entity already has a secret for MFA method %q"
	textNoSelfEnrol   = "self-enrollment is not enabled for this MFA method"
	textNoCredentials = "MFA credentials not supplied"
	textWrongCode     = "failed to validate TOTP passcode"
	textBaoWrongCode  = "MFA credentials not supplied or incorrect"
	textNotEnrolled   = "MFA secret for method ID %q not present in entity %q or cached MFA auth response"
	textTooMany       = "maximum TOTP validation attempts %d exceeded the allowed attempts %d. Please try again in %v seconds"
)
