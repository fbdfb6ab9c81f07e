package devvault

import (
	"context"
	"strings"
	"testing"
	"time"
)

// payrollServer has a path that two people of two groups must approve.
func payrollServer(t *testing.T) (s *Server, carol client, clock *clock) {
	t.Helper()
	clock = newClock()
	s, root := newFixture(t, Config{Now: clock.Now})
	for _, name := range []string{"abby", "ben", "carol"} {
		s.AddEntity(name)
	}
	s.AddPolicy("pay",
		PathRule{Path: "secret/data/pay", Capabilities: []string{"create", "read", "update"}, ControlGroup: &ControlGroup{
			TTL: 10 * time.Minute,
			Factors: []GroupFactor{
				{Members: []string{"abby", "carol"}},
				{Capabilities: []string{"create", "update"}, Members: []string{"ben"}},
			},
		}})
	s.AddPolicy("approve", PathRule{Path: "sys/control-group/authorize", Capabilities: []string{"update"}})
	check(t, s.PutSecret("secret/pay", map[string]any{"salary": "1"}))
	return s, root.as(s.CreateToken([]string{"default", "pay", "approve"}, "carol")), clock
}

func TestControlGroup(t *testing.T) {
	t.Parallel()
	s, carol, clock := payrollServer(t)
	abby := carol.as(s.CreateToken([]string{"default", "approve"}, "abby"))
	held := carol.do("GET", "/v1/secret/data/pay", nil)
	held.want(t, 200, strings.Replace(wrapInfo, `"ttl":60`, `"ttl":600`, 1)+`secret/data/pay"},"warnings":null,"auth":null,"mount_type":""}`+"\n")
	token, accessor := held.text(t, "wrap_info", "token"), map[string]string{"accessor": held.text(t, "wrap_info", "accessor")}
	unwrap := func(c client) answer {
		return c.do("POST", "/v1/sys/wrapping/unwrap", map[string]string{"token": token})
	}

	unwrap(carol).refused(t, 400, textFurtherApproval)
	asked := carol.do("POST", "/v1/sys/control-group/request", accessor)
	if asked.status != 200 || !strings.Contains(asked.body, `"data":{"approved":false,"authorizations":[],"request_entity":{"id":"`) || !strings.Contains(asked.body, `"name":"carol"},"request_path":"secret/data/pay"}`) {
		t.Errorf("request: %d %s", asked.status, asked.body)
	}
	carol.do("POST", "/v1/sys/control-group/request", map[string]string{"accessor": "x"}).refused(t, 400, textBadAccessor)
	carol.do("POST", "/v1/sys/control-group/request", nil).refused(t, 400, textNoAccessor)
	carol.as(s.CreateToken([]string{"approve"}, "ben")).do("POST", "/v1/sys/control-group/authorize", accessor).want(t, 200, envelopeHead+`"data":{"approved":false},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`+"\n")
	carol.as(s.CreateToken([]string{"approve"}, "mallory")).do("POST", "/v1/sys/control-group/authorize", accessor).refused(t, 403, textDenied)
	abby.do("POST", "/v1/sys/control-group/authorize", accessor).want(t, 200, envelopeHead+`"data":{"approved":true},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"system"}`+"\n")
	if h := s.HeldRequests(); len(h) != 1 || !h[0].Approved || strings.Join(h[0].By, ",") != "ben,abby" {
		t.Errorf("held: %+v", h)
	}

	unwrap(abby).refused(t, 403, textDenied) // it was not her request
	if got := unwrap(carol); got.status != 200 || !strings.Contains(got.body, `"salary":"1"`) {
		t.Errorf("unwrapped: %d %s", got.status, got.body)
	}
	unwrap(carol).refused(t, 400, textWrapToken)

	late := carol.do("GET", "/v1/secret/data/pay", nil).text(t, "wrap_info", "accessor")
	clock.Add(10 * time.Minute)
	carol.do("POST", "/v1/sys/control-group/request", map[string]string{"accessor": late}).refused(t, 400, textBadAccessor)
}

// A write happens when it is unwrapped, not before, and each factor counts only for
// its capabilities.
func TestControlGroupWrite(t *testing.T) {
	t.Parallel()
	s, carol, _ := payrollServer(t)
	held := carol.do("POST", "/v1/secret/data/pay", `{"data":{"salary":"2"}}`)
	accessor := held.text(t, "wrap_info", "accessor")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	check(t, s.WaitHeld(ctx, 1))
	if err := s.Authorize(accessor, "mallory"); err == nil {
		t.Error("a stranger approved")
	}
	if err := s.Authorize("x", "abby"); err == nil {
		t.Error("something that is not held was approved")
	}
	for i, name := range []string{"abby", "abby", "ben"} {
		if h := s.HeldRequests()[0]; h.Approved {
			t.Errorf("approved after %d of two", i)
		}
		check(t, s.Authorize(accessor, name))
	}
	version := func() string {
		return carol.as(s.RootToken()).do("GET", "/v1/secret/metadata/pay", nil).body
	}
	if !strings.Contains(version(), `"current_version":1`) {
		t.Error("written before it was unwrapped")
	}
	carol.as(held.text(t, "wrap_info", "token")).do("POST", "/v1/sys/wrapping/unwrap", nil)
	if !strings.Contains(version(), `"current_version":2`) {
		t.Error("not written")
	}
}
