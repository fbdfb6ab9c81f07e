package relay

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxRedirects is what Vault's own event client follows.
const maxRedirects = 10

// maxDrained is read of an answer that goes nowhere, to keep its connection.
const maxDrained = 64 << 10

// A redirectError is a redirect that is not followed. The app must never see
// it: it would go to Vault by itself and past us.
type redirectError struct{ target, reason string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("redirect to %s: %s", e.target, e.reason)
}

// roundTripFollowing sends r and follows 307 and 308, by which a standby points at
// the active node. Only within the same trust: http to http, https to https,
// where the base transport demands the same CA again. The token goes with it,
// so anything else would be a way to have it handed out. moved sees each request
// that a redirect leads to, and may stop it.
func (t *Transport) roundTripFollowing(r *http.Request, body *replayableBody, moved func(*http.Request) error) (*http.Response, error) {
	for range maxRedirects + 1 {
		reader, ok := body.reader()
		if !ok {
			return nil, &redirectError{target: r.URL.Host, reason: "the body of the request is too large to be sent again; set the vault block's address to the active node"}
		}
		r.Body, r.GetBody = reader, body.again
		resp, err := t.config.Base.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
			return resp, nil
		}
		target, err := location(r.URL, resp)
		drain(resp)
		if err != nil {
			return nil, err
		}
		r = clone(r.Context(), r)
		r.URL, r.Host = target, ""
		if err := moved(r); err != nil {
			return nil, err
		}
	}
	return nil, &redirectError{target: r.URL.Host, reason: "too many redirects in a row"}
}

func anyRedirect(*http.Request) error { return nil }

// sameRequestAs lets redirects pass to what Vault takes for the same request as x. What goes
// with it (a step-up token, codes) was given for that one and for no other.
func (t *Transport) sameRequestAs(x *exchange) func(*http.Request) error {
	return func(r *http.Request) error {
		was, _ := t.derive(x.request)
		if is, _ := t.derive(r); is != was {
			return &redirectError{target: r.URL.Scheme + "://" + r.URL.Host, reason: "it leads to another path than the one that was stepped up"}
		}
		return nil
	}
}

// location is where resp points. A standby redirects event subscriptions to ws
// and wss, which are http and https before the upgrade.
func location(from *url.URL, resp *http.Response) (*url.URL, error) {
	base := *from
	base.Opaque = ""
	target, err := base.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" || target.Host == "" {
		return nil, &redirectError{target: "nowhere", reason: "its location cannot be used"}
	}
	switch target.Scheme {
	case "ws":
		target.Scheme = "http"
	case "wss":
		target.Scheme = "https"
	}
	if target.Scheme != from.Scheme {
		return nil, &redirectError{target: target.Scheme + "://" + target.Host, reason: "it leads to another kind of connection (http and https do not mix)"}
	}
	target.User, target.Fragment, target.RawFragment = nil, "", ""
	return target, nil
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrained)
	_ = resp.Body.Close()
}
