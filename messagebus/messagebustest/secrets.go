package messagebustest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const secretsName = "org.freedesktop.secrets"

// StartKeyring starts a gnome-keyring whose login collection is open.
func (d *Daemon) StartKeyring(t *testing.T) {
	t.Helper()
	d.startSecrets(t, func() {
		d.run(t, "password", "gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets", "--control-directory="+d.Dir)
	})
}

// StartWallet starts a KWallet whose default wallet is there and closed, or open as the
// login opens it. Its windows are on no screen: what needs one never ends.
func (d *Daemon) StartWallet(t *testing.T) (open func()) {
	t.Helper()
	d.Env = append(d.Env, "QT_QPA_PLATFORM=offscreen")
	program := "kwalletd5"
	if _, err := exec.LookPath(program); err != nil {
		program = "kwalletd6" // of Plasma 6, which has the names of the older one on the bus too
	}
	var wallet *os.Process
	start := func() { wallet, _ = d.run(t, "", program) }
	d.startSecrets(t, start)
	conn := d.Connect(t)
	open = func() {
		t.Helper()
		// The hash of a password, as PAM gives it; every one makes a new wallet.
		must(t, conn.Object("org.kde.kwalletd5", "/modules/kwalletd5").Call("org.kde.KWallet.pamOpen", 0, "kdewallet", bytes.Repeat([]byte{1}, 56), int32(0)).Err)
	}
	open()
	// The secret service learns of a new wallet only when it starts again.
	must(t, wallet.Kill())
	_, _ = wallet.Wait()
	d.startSecrets(t, start)
	return open
}

// StartKeePassXC starts a KeePassXC with an open database for the secret service.
// Confirming is its default: a person is asked before an entry is handed out.
func (d *Daemon) StartKeePassXC(t *testing.T, confirm bool) {
	t.Helper()
	// One runs for each user: it knows others by a file in the folder for temporary files.
	d.Env = append(d.Env, "QT_QPA_PLATFORM=offscreen", "TMPDIR="+d.Dir)
	folder := filepath.Join(d.Dir, "config", "keepassxc")
	must(t, os.MkdirAll(folder, 0o700))
	// It saves in a thread while the next change is made, which has been seen to end it. Its window stays in the
	// tray: 2.7.10 does not survive showing one with the open database in it.
	must(t, os.WriteFile(filepath.Join(folder, "keepassxc.ini"), fmt.Appendf(nil,
		"[General]\nConfigVersion=2\nAutoSaveAfterEveryChange=false\n"+
			"[GUI]\nMinimizeOnStartup=true\nMinimizeToTray=true\nShowTrayIcon=true\n"+
			"[FdoSecrets]\nEnabled=true\nShowNotification=false\nConfirmAccessItem=%t\n", confirm), 0o600))
	must(t, os.WriteFile(filepath.Join(d.Dir, "db.xml"), []byte(keepassXML), 0o600))
	database := filepath.Join(d.Dir, "db.kdbx")
	if importer, err := exec.LookPath("keepassxc-cli"); err != nil {
		t.Skip("needs keepassxc")
	} else {
		cmd := exec.Command(importer, "import", "-p", "-t", "100", filepath.Join(d.Dir, "db.xml"), database)
		cmd.Env, cmd.Stdin = d.Env, bytes.NewReader([]byte("password\npassword\n"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	d.startSecrets(t, func() { d.run(t, "password\n", "keepassxc", "--pw-stdin", database) })
	d.awaitCollection(t)
}

// keepassXML is a database whose root group is for the secret service.
const keepassXML = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<KeePassFile><Meta><DatabaseName>db</DatabaseName><RecycleBinEnabled>True</RecycleBinEnabled>
<CustomData><Item><Key>FDO_SECRETS_EXPOSED_GROUP</Key><Value>{aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee}</Value></Item></CustomData></Meta>
<Root><Group><UUID>qqqqqru7TMyN3e7u7u7u7g==</UUID><Name>Root</Name></Group></Root></KeePassFile>`

// startSecrets starts a secret service, and returns when it has its name.
func (d *Daemon) startSecrets(t *testing.T, start func()) {
	t.Helper()
	conn := d.Connect(t)
	news := []dbus.MatchOption{
		dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, secretsName),
	}
	must(t, conn.AddMatchSignal(news...))
	signals := make(chan *dbus.Signal, 10)
	conn.Signal(signals)
	start()
	await(t, signals, func(s *dbus.Signal) bool {
		return s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Body[2] != ""
	})
}

// awaitCollection returns when the secret service has a default collection, which
// KeePassXC has once its database is open.
func (d *Daemon) awaitCollection(t *testing.T) {
	t.Helper()
	conn := d.Connect(t)
	must(t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.Secret.Service")))
	signals := make(chan *dbus.Signal, 100)
	conn.Signal(signals)
	if !isOpen(conn) {
		await(t, signals, func(*dbus.Signal) bool { return isOpen(conn) })
	}
}

func isOpen(conn *dbus.Conn) bool {
	var collection dbus.ObjectPath
	service := conn.Object(secretsName, "/org/freedesktop/secrets")
	if service.Call("org.freedesktop.Secret.Service.ReadAlias", 0, "default").Store(&collection) != nil || collection == "/" {
		return false
	}
	locked, err := conn.Object(secretsName, collection).GetProperty("org.freedesktop.Secret.Collection.Locked")
	return err == nil && locked.Value() == false
}

// await returns with the signal that is waited for. A program that has ended sends none.
func await(t *testing.T, signals <-chan *dbus.Signal, is func(*dbus.Signal) bool) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case s := <-signals:
			if is(s) {
				return
			}
		case <-late:
			t.Fatal("the secret service does not appear")
		}
	}
}
