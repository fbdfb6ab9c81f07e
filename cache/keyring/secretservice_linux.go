package keyring

import (
	"context"
	"errors"
	"slices"

	system "github.com/zalando/go-keyring"

	"github.com/vault-stepup/stepup/messagebus"
)

// Names of the Secret Service API, draft 0.2 of freedesktop.org.
const (
	secretsName      = "org.freedesktop.secrets"
	secretsPath      = messagebus.Path("/org/freedesktop/secrets")
	secretsLogin     = messagebus.Path("/org/freedesktop/secrets/collection/login")
	secretService    = "org.freedesktop.Secret.Service"
	secretCollection = "org.freedesktop.Secret.Collection"
	secretItem       = "org.freedesktop.Secret.Item"
	secretPrompt     = "org.freedesktop.Secret.Prompt"
)

// perform works on the item of a request, if that can be done without a dialog; the error
// is an [*Error] otherwise. go-keyring begins each operation with Unlock, which is what
// makes dialogs appear: it is used only where everything was seen to be open.
func perform(ctx context.Context, q request) (string, error) {
	bus, err := openBus(ctx)
	if err != nil {
		return "", err
	}
	defer bus.Close()
	c := &collection{bus: bus, attributes: map[string]string{"service": q.Service, "username": q.Name}}
	if err := c.open(ctx); err != nil {
		return "", err
	}
	item, err := c.find(ctx)
	switch {
	case err != nil:
		return "", err
	case q.Operation == opSet && item != "":
		return "", c.replace(ctx, item, q.Value)
	case q.Operation == opSet:
		return "", c.add(ctx, q)
	case q.Operation == opDelete && item != "":
		return "", c.remove(ctx, q, item)
	default:
		return viaLibrary(q)
	}
}

// A collection is the one of the secret service that go-keyring will take, seen over a
// connection of our own, with the attributes of one item.
type collection struct {
	bus        *messagebus.Conn
	object     messagebus.Object
	attributes map[string]string
}

func root() messagebus.Object { return messagebus.Object{Of: secretsName, Path: secretsPath} }

// open finds the collection and sees to it that it is open.
func (c *collection) open(ctx context.Context) error {
	collections, err := c.bus.Property(ctx, root(), secretService+".Collections")
	if err != nil {
		return AsError(err)
	}
	path := secretsLogin
	if paths, _ := collections.([]messagebus.Path); !slices.Contains(paths, path) {
		if err := messagebus.Result(c.bus.Call(ctx, root(), secretService+".ReadAlias", "default"), &path); err != nil {
			return AsError(err)
		}
		if path == "/" {
			return &Error{Missing, "the secret service has no default collection"}
		}
	}
	c.object = messagebus.Object{Of: secretsName, Path: path}
	locked, err := c.locked(ctx, c.object, secretCollection)
	if err != nil || !locked {
		return err
	}
	return c.openWallet(ctx)
}

// locked reports whether a collection or an item is. What does not say so is.
func (c *collection) locked(ctx context.Context, object messagebus.Object, kind string) (bool, error) {
	value, err := c.bus.Property(ctx, object, kind+".Locked")
	if err != nil {
		return true, AsError(err)
	}
	locked, ok := value.(bool)
	return locked || !ok, nil
}

// find returns the item that go-keyring would take, "" if there is none. Services that
// ask a person before they hand out an item (KeePassXC) show it as locked, but to the
// connection that has made it.
func (c *collection) find(ctx context.Context) (messagebus.Path, error) {
	var items []messagebus.Path
	if err := messagebus.Result(c.bus.Call(ctx, c.object, secretCollection+".SearchItems", c.attributes), &items); err != nil {
		return "", AsError(err)
	}
	if len(items) == 0 {
		return "", nil
	}
	locked, err := c.locked(ctx, messagebus.Object{Of: secretsName, Path: items[0]}, secretItem)
	if err == nil && locked {
		err = &Error{Locked, whyItemLocked}
	}
	return items[0], err
}

// add stores a new item. At first it holds nothing, and is looked at as the next process
// will: an item that only the connection of go-keyring could read again would stay where
// nothing of ours reaches it, and what is removed from KeePassXC goes to its recycle bin.
func (c *collection) add(ctx context.Context, q request) error {
	if err := system.Set(q.Service, q.Name, valueMark); err != nil {
		return err
	}
	item, err := c.find(ctx)
	switch {
	case err != nil:
		return errors.Join(err, system.Delete(q.Service, q.Name)) // over the connection that made it
	case item == "":
		return &Error{Failed, "the keyring did not take the item"} // go-keyring does not look at that
	}
	return c.replace(ctx, item, q.Value)
}

// replace gives an item another secret. To create it once more would make KeePassXC ask,
// and to remove it first would leave a copy in its recycle bin each time.
func (c *collection) replace(ctx context.Context, item messagebus.Path, value string) error {
	var session messagebus.Path
	opened := c.bus.Call(ctx, root(), secretService+".OpenSession", "plain", messagebus.MakeVariant(""))
	if err := messagebus.Result(opened, new(messagebus.Variant), &session); err != nil {
		return AsError(err)
	}
	type secret struct {
		Session           messagebus.Path
		Parameters, Value []byte
		ContentType       string
	}
	err := c.bus.Call(ctx, messagebus.Object{Of: secretsName, Path: item}, secretItem+".SetSecret",
		secret{session, []byte{}, []byte(value), "text/plain; charset=utf8"}).Err
	if err != nil {
		return AsError(err)
	}
	return nil
}

// remove forgets an item. A person who was asked first (KeePassXC, for good) may have
// said no, which go-keyring does not look at.
func (c *collection) remove(ctx context.Context, q request, item messagebus.Path) error {
	if err := system.Delete(q.Service, q.Name); err != nil {
		return err
	}
	left, err := c.find(ctx)
	if err == nil && left == item {
		err = &Error{Locked, "the keyring did not let the item go"}
	}
	return err
}
