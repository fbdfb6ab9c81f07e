package messagebus

import (
	"context"
	"errors"
	"fmt"
)

// Owners are unique names of programs by the well-known names that they own, "" for
// none. The bus fills in the sender of a signal, which no program can forge; but it
// also delivers what others send to this connection alone, subscribed to or not.
type Owners map[string]string

// From reports whether the owner of a name sent s. On the system bus every user may
// send any signal: without this a stranger could give orders in a service's name.
func (o Owners) From(name string, s *Signal) bool {
	owner := o[name]
	return owner != "" && s.Sender == owner
}

// Learn takes in the news that a followed name has another owner, or none any more,
// and returns the name; "" for every other signal.
func (o Owners) Learn(s *Signal) string {
	if s.Sender != Daemon || s.Path != DaemonPath || s.Name != OwnerChanged {
		return ""
	}
	var name, was, is string
	if Store(s.Body, &name, &was, &is) != nil {
		return ""
	}
	if owner, followed := o[name]; !followed || owner == is {
		return ""
	}
	o[name] = is
	return name
}

// Follow finds the owner of a name and is told of each change from then on. It subscribes
// to changes first and asks then, so that none is missed.
func (b *Conn) Follow(ctx context.Context, name string) error {
	if err := b.Subscribe(ctx, Match{Sender: Daemon, Interface: Daemon, Member: "NameOwnerChanged", Arg0: name}); err != nil {
		return err
	}
	var owner string
	err := Result(b.daemon(ctx, "GetNameOwner", name), &owner)
	var none Error
	if err != nil && (!errors.As(err, &none) || none.Name != Daemon+".Error.NameHasNoOwner") {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.Owners[name] = owner
	return nil
}

// Ensure has the bus start the program that owns a name, if no program does. The error
// is [ErrNoService] if the bus knows none.
func (b *Conn) Ensure(ctx context.Context, name string) error {
	var owned bool
	if err := Result(b.daemon(ctx, "NameHasOwner", name), &owned); err != nil || owned {
		return err
	}
	err := b.daemon(ctx, "StartServiceByName", name, uint32(0)).Err
	var unknown Error
	if errors.As(err, &unknown) && unknown.Name == Daemon+".Error.ServiceUnknown" {
		return fmt.Errorf("%s: %w", name, ErrNoService)
	}
	return err
}

// A Match says which signals are wanted; what is empty matches every signal.
type Match struct {
	Sender, Interface, Member string
	Path                      Path
	Below                     Path // the path, or one below it
	Arg0                      string
}

// Subscribe asks the bus for signals.
func (b *Conn) Subscribe(ctx context.Context, m Match) error {
	rule := "type='signal'"
	for _, field := range []struct{ key, value string }{
		{"sender", m.Sender}, {"interface", m.Interface}, {"member", m.Member},
		{"path", string(m.Path)}, {"path_namespace", string(m.Below)}, {"arg0", m.Arg0},
	} {
		if field.value != "" {
			rule += "," + field.key + "='" + field.value + "'"
		}
	}
	return b.daemon(ctx, "AddMatch", rule).Err
}
