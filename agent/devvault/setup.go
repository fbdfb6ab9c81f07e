package devvault

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Namespace holds policies, mounts, users and roles. The root namespace is
// embedded in [Server].
type Namespace struct {
	s *Server

	path         string // "" or with a slash at its end
	policies     map[string][]PathRule
	mounts       map[string]*mount // by path: "secret/", "auth/userpass/"
	roles        map[string]TokenRole
	enforcements []*enforcement // sorted by name, the order they are checked in
	sentinels    map[string]Sentinel
}

// An entity is a user, at whatever mounts they log in.
type entity struct {
	id, name string
	ns       *Namespace
	seeds    map[string]seed // by ID of the TOTP method
}

// A TokenRole says which tokens auth/token/create/NAME creates.
type TokenRole struct {
	AllowedPolicies []string      // nil: whatever the parent may give
	MaxTTL          time.Duration // 0 means no limit of its own
	Orphan          bool          // the token outlives its parent, and has no entity
	Batch           bool          // of the type that cannot be revoked; Vault wants Orphan with it
}

// A TokenSpec describes a token to [Namespace.NewToken].
type TokenSpec struct {
	Policies []string      // as they are: "default" is not added
	Entity   string        // ID or name, made when there is none by that name; "" means no entity
	TTL      time.Duration // 0 means that it does not expire
	NumUses  int           // 0 means no limit; a denied request costs a use too
}

func (s *Server) newNamespaceLocked(path string) *Namespace {
	n := &Namespace{
		s: s, path: path,
		policies: map[string][]PathRule{"default": s.cfg.Flavor.defaultPolicy()},
		mounts:   make(map[string]*mount),
		roles:    make(map[string]TokenRole),
	}
	for _, m := range builtinMounts() {
		n.mounts[m.path] = m
	}
	s.state.namespaces[path] = n
	return n
}

// AddNamespace declares a namespace by its whole path, such as "ns1" or
// "ns1/ns2", with the mounts and the policy of a new one. A path that is
// declared already gives the namespace that is there.
func (s *Server) AddNamespace(path string) *Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	path = strings.Trim(path, "/")
	if path != "" {
		path += "/"
	}
	if n, ok := s.state.namespaces[path]; ok {
		return n
	}
	return s.newNamespaceLocked(path)
}

// AddPolicy sets the rules of a policy, replacing what it had. Paths are relative to
// the namespace, as in Vault.
func (n *Namespace) AddPolicy(name string, rules ...PathRule) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	n.policies[name] = slices.Clone(rules)
}

// AddUser adds a user to the userpass mount auth/MOUNT, which is made when it is not
// there, and returns the ID of the person's entity. The policy "default" is added, as
// Vault does.
func (n *Namespace) AddUser(mount, name, password string, policies ...string) (entity string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	path := authPath(mount)
	m := n.mounts[path]
	if m == nil {
		m = newMount(path, "userpass", "")
		n.mounts[path] = m
	}
	e := n.entityLocked(name)
	m.users[name] = user{password: password, policies: withDefault(policies), entity: e.id}
	return e.id
}

// authPath is the path of an auth mount, which may be given with auth/ or without.
func authPath(mount string) string {
	return "auth/" + strings.Trim(strings.TrimPrefix(strings.Trim(mount, "/"), "auth/"), "/") + "/"
}

// AddKV mounts a KV store, version 2, at MOUNT. There are secret and kv already.
func (n *Namespace) AddKV(mount string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	path := strings.Trim(mount, "/") + "/"
	if n.mounts[path] == nil {
		n.mounts[path] = newMount(path, "kv", "")
	}
}

// PutSecret writes a new version of a secret. The path is that of `vault kv put`, such
// as secret/app/db; with data/ in it, as in the API, it means the same.
func (n *Namespace) PutSecret(path string, data map[string]any) error {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	m, rest := n.mountLocked(strings.Trim(path, "/"))
	if m == nil || m.kind != "kv" || rest == "" {
		return fmt.Errorf("putting a secret: there is no KV store for %q", path)
	}
	m.kv.put(strings.TrimPrefix(rest, "data/"), maps.Clone(data), n.s.now())
	return nil
}

// AddTokenRole sets a role of auth/token.
func (n *Namespace) AddTokenRole(name string, role TokenRole) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	n.roles[name] = role
}

// AddEntity makes sure that there is a person by this name, and returns their ID.
func (n *Namespace) AddEntity(name string) (id string) {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	return n.entityLocked(name).id
}

// CreateToken makes a token that does not expire. Entity is an ID or a name, or
// "" for none, and a token without an entity never passes MFA.
func (n *Namespace) CreateToken(policies []string, entity string) string {
	return n.NewToken(TokenSpec{Policies: policies, Entity: entity})
}

// NewToken makes a token.
func (n *Namespace) NewToken(spec TokenSpec) string {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	t := &token{
		id: newTokenID(), accessor: newAccessor(), ns: n, display: "token", path: "auth/token/create",
		policies: sanitized(spec.Policies), created: n.s.now(), ttl: spec.TTL, uses: spec.NumUses,
		orphan: true, renewable: spec.TTL > 0,
	}
	if spec.Entity != "" {
		t.entity = n.entityLocked(spec.Entity).id
	}
	if spec.TTL > 0 {
		t.expires = t.created.Add(spec.TTL)
	}
	n.s.state.tokens[t.id] = t
	return t.id
}

// AddLoginEnforcement asks for one of the methods (names or IDs) after each login at
// one of the mounts, such as "userpass". Enforcements are checked by name.
func (n *Namespace) AddLoginEnforcement(name string, methods, mounts []string) error {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	if name == "" || len(methods) == 0 || len(mounts) == 0 {
		return errors.New("adding a login enforcement: it needs a name, methods and mounts")
	}
	e := &enforcement{name: name, mounts: make(map[string]bool)}
	for _, want := range methods {
		m := n.methodLocked(want)
		if m == nil {
			return fmt.Errorf("adding login enforcement %s: there is no MFA method %q", name, want)
		}
		e.methods = append(e.methods, m)
	}
	for _, path := range mounts {
		e.mounts["auth/"+strings.TrimPrefix(strings.Trim(path, "/"), "auth/")+"/"] = true
	}
	n.enforcements = slices.DeleteFunc(n.enforcements, func(old *enforcement) bool { return old.name == name })
	n.enforcements = append(n.enforcements, e)
	slices.SortFunc(n.enforcements, func(a, b *enforcement) int { return strings.Compare(a.name, b.name) })
	return nil
}

// entityLocked finds a person by ID or name, or makes them.
func (n *Namespace) entityLocked(nameOrID string) *entity {
	if e := n.findEntityLocked(nameOrID); e != nil {
		return e
	}
	e := &entity{id: newUUID(), name: nameOrID, ns: n, seeds: make(map[string]seed)}
	n.s.state.entities[e.id] = e
	return e
}

func (n *Namespace) findEntityLocked(nameOrID string) *entity {
	if e, ok := n.s.state.entities[nameOrID]; ok {
		return e
	}
	for _, e := range n.s.state.entities {
		if e.name == nameOrID && e.ns == n {
			return e
		}
	}
	return nil
}

// withDefault is the policies of a login: "default" is among them, in Vault's order.
func withDefault(policies []string) []string {
	return sanitized(append([]string{"default"}, policies...))
}

// sanitized is lower-cased, sorted and without repetition (policyutil.SanitizePolicies).
func sanitized(policies []string) []string {
	out := make([]string, 0, len(policies))
	for _, p := range policies {
		if p = strings.ToLower(strings.TrimSpace(p)); p != "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func newTokenID() string  { return "hvs." + rand.Text() }
func newAccessor() string { return rand.Text()[:24] }
