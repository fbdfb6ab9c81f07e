package okta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// An Account is what Okta knows of a user who logs in with a password, as Vault's
// Okta auth method does. The phone is the one that [Stub.Give] hands out.
type Account struct {
	Password string
	Number   int      // to be tapped at every push; 0 for none
	Codes    []string // of an authenticator, each good once; a user with codes has no push
}

// A transaction is one login that Okta has not decided yet.
type transaction struct {
	user string
	push *push // nil before it was sent
}

// Open gives a user an account.
func (s *Stub) Open(user string, a Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[user] = &a
}

// authn adds the calls of the Authentication API (/api/v1/authn).
func (s *Stub) authn(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/v1/authn", s.primary)
	mux.HandleFunc("POST /api/v1/authn/factors/push/verify", s.challenge)
	mux.HandleFunc("POST /api/v1/authn/factors/code/verify", s.passCode)
	mux.HandleFunc("GET /api/v1/users/{user}/groups", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, []any{})
	})
}

// primary checks the password and says which factors there are.
func (s *Stub) primary(w http.ResponseWriter, r *http.Request) {
	var ask struct{ Username, Password string }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		refuse(w, http.StatusBadRequest, "E0000003", "The request body was not well-formed.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[ask.Username]
	if a == nil || a.Password != ask.Password {
		refuse(w, http.StatusUnauthorized, "E0000004", "Authentication failed")
		return
	}
	state := fmt.Sprintf("state%d", len(s.logins)+1)
	s.logins[state] = &transaction{user: ask.Username}
	reply(w, http.StatusOK, map[string]any{
		"stateToken": state, "status": "MFA_REQUIRED",
		"_embedded": map[string]any{"user": profile(ask.Username), "factors": []any{factor(a)}},
	})
}

// challenge sends the push at its first call, and says at every one how it stands.
func (s *Stub) challenge(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	login, a := s.loginLocked(r, nil)
	if login == nil {
		refuse(w, http.StatusUnauthorized, "E0000011", "Invalid token provided")
		return
	}
	shown := 0
	if login.push == nil {
		login.push = s.pushLocked(login.user)
	} else {
		shown = a.Number // Okta tells it from the second call on
		s.users[login.user].polls++
	}
	f := factor(a)
	if shown != 0 {
		f["_embedded"] = map[string]any{"challenge": map[string]any{"correctAnswer": shown}}
	}
	answer := map[string]any{"status": "MFA_CHALLENGE", "factorResult": login.push.result, "_embedded": map[string]any{"user": profile(login.user), "factor": f}}
	if login.push.result == Approved {
		answer["status"] = "SUCCESS"
	}
	reply(w, http.StatusOK, answer)
}

// passCode takes a code once.
func (s *Stub) passCode(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var code string
	login, a := s.loginLocked(r, &code)
	if login == nil {
		refuse(w, http.StatusUnauthorized, "E0000011", "Invalid token provided")
		return
	}
	i := slices.Index(a.Codes, code)
	if i < 0 {
		refuse(w, http.StatusForbidden, "E0000068", "Invalid Passcode/Answer")
		return
	}
	a.Codes = slices.Delete(a.Codes, i, i+1)
	reply(w, http.StatusOK, map[string]any{"status": "SUCCESS", "_embedded": map[string]any{"user": profile(login.user)}})
}

// loginLocked is the transaction that a call belongs to, nil for none.
func (s *Stub) loginLocked(r *http.Request, code *string) (*transaction, *Account) {
	var ask struct{ StateToken, PassCode string }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return nil, nil
	}
	login := s.logins[ask.StateToken]
	if login == nil || s.phones[login.user] == nil {
		return nil, nil
	}
	if code != nil {
		*code = ask.PassCode
	}
	return login, s.accounts[login.user]
}

func profile(name string) map[string]any {
	return map[string]any{"id": name, "profile": map[string]any{"login": name}}
}

func factor(a *Account) map[string]any {
	if a.Codes != nil {
		return map[string]any{"id": "code", "factorType": "token:software:totp", "provider": "GOOGLE"}
	}
	return map[string]any{"id": "push", "factorType": "push", "provider": "OKTA"}
}

func refuse(w http.ResponseWriter, status int, code, summary string) {
	reply(w, status, map[string]any{"errorCode": code, "errorSummary": summary})
}
