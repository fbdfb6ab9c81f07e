package main

import (
	"errors"
	"fmt"
)

// The words of the commands that keep secrets in the keyring. The rules are those
// of ui.go.

const (
	textNoKeyring = "the keyring cannot be used: %s"
	hintUnlock    = "unlock it and try again"
)

// The token helper.
const (
	textHelper        = "keep the token of `vault login` in the keyring"
	textHelperGet     = "print the token"
	textHelperStore   = "keep the token from standard input"
	textHelperErase   = "forget the token"
	textHelperEnable  = "make the Vault CLI use it"
	textHelperDisable = "make the Vault CLI keep the token in ~/.vault-token again"
	textHelperBao     = "for the CLI of OpenBao: ~/.bao and the BAO_ variables"

	textHelperLong = `A token helper of the Vault CLI: where "vault login" keeps the token, and where
every other command finds it. Without one that is the file ~/.vault-token, as
plain text, one for all servers. This one keeps it in the keyring of the
operating system, one for each server, and never touches that file.

  stepup token-helper enable     from now on
  vault login                    as ever

The token belongs to the server behind VAULT_ADDR (VAULT_AGENT_ADDR comes first,
as in Vault): where that is a listener of stepup, the Vault that it leads to. So
the same token is found through stepup and past it. The CLI does not tell a
helper about -address: use the variable.

Where there is no keyring, or it is locked, it fails and says so; it never falls
back to a file. In an SSH session no keyring is used.`

	textHelperEnableLong = `Writes the line token_helper = "…" into ~/.vault (or the file that
VAULT_CONFIG_PATH names) and leaves a line that names another helper as it is.
With --bao it is ~/.bao and BAO_CONFIG_PATH.

The CLI runs the helper with nothing but get, store or erase behind it. So the
line names a link to stepup, in the folder of stepup's configuration, and under
the name of the link stepup is the helper.

A token that is in ~/.vault-token stays there, and is not used any more: run
"vault login" again, and delete the file.`

	textHelperDisableLong = `Takes the line that "enable" wrote out of the file again, and nothing else. The
file goes when it is empty. Tokens stay in the keyring.`

	textHelperEnabled  = "wrote token_helper into %s"
	textHelperAlready  = "%s has the line already"
	textHelperDisabled = "took token_helper out of %s"
	textHelperNone     = "%s has no line of ours"
	textHelperForeign  = "%s names another token helper: %s"
	textHelperOther    = "%s has something else than a token_helper line in it"
	textHelperTaken    = "%s is there and is no link"
	textHelperAddress  = "%s is not the address of a Vault server"

	textHelperNoKeyring = "stepup: the CLI will fail where the keyring cannot be used, and now it cannot: %s"

	hintHelperOff     = "`stepup token-helper disable` makes the CLI keep tokens in ~/.vault-token again"
	hintHelperForeign = "take that line out first; stepup does not"
	hintHelperOther   = "Ansible Vault keeps a password in a file of that name, which the Vault CLI cannot read: set VAULT_CONFIG_PATH to another file"
	hintHelperTaken   = "move it away and try again"
	hintHelperLogin   = "log in again, so that the token is in the keyring: `vault login`"
)

// TOTP seeds.
const (
	textTOTP       = "TOTP seeds in the keyring"
	textTOTPAdd    = "keep a seed"
	textTOTPCode   = "print the current code"
	textTOTPRemove = "forget a seed"
	textTOTPImage  = "read the QR code in this PNG or JPEG file instead of standard input"

	textTOTPLong = `Keeps the seed of a TOTP method in the keyring of the operating system, so that
this machine can make the codes: "stepup totp code", and the agent where an
mfa_method says passcode_source = "keyring" (it still asks you to confirm).

What this gives up: a second factor is worth something because it is somewhere
else. With the seed here, both factors are on one machine, and whoever can open
your keyring (a program that you run, or somebody at your unlocked screen) needs
no phone and no key any more. If you can, let a hardware key make the codes
instead: passcode_command with ykman, for example.`

	textTOTPAddLong = `Keeps the seed of METHOD, the name that the method has in Vault. It is read from
standard input, as the otpauth:// URL that Vault gives out, or typed without
being shown, or read from the QR code in an image:

  vault read -field=url sys/mfa/method/totp/corp_totp/generate | stepup totp add corp_totp
  stepup totp add corp_totp --image qr.png

A seed is never an argument: those can be read by every user of this machine.
One that is there already is not replaced. An image that you saved is a copy of
the second factor: delete it afterwards.

With the seed in the keyring, both factors are on this machine: see
"stepup totp --help".`

	textTOTPCodeLong = `Prints the code of METHOD. On a terminal it also says for how long it will be
the current one. Vault accepts each code once.`

	textSeedKept    = "kept the seed of %s in the keyring"
	textSeedRemoved = "forgot the seed of %s"
	textSeedThere   = "there is a seed for %s already"
	textSeedNone    = "there is no seed for %s in the keyring"
	textSeedNotice  = "both factors are on this machine now: whoever can open the keyring needs no phone any more"
	textSeedAsk     = "otpauth:// URL (not shown): "
	textSeedLeft    = "%d s left"
	textImage       = "no QR code could be read from %s: %v"

	hintSeedThere = "`stepup totp remove %s` forgets it"
	hintSeedNone  = "`stepup totp add %s` keeps one"
	hintSeed      = "pipe it: `… | stepup totp add %s`, or name an image with --image FILE"
)

var (
	errHelperEmpty     = errors.New("no token on standard input")
	errHelperToken     = errors.New("what is on standard input is no token: it has blanks or characters that cannot be printed")
	errHelperLong      = errors.New("the token on standard input is too long for the keyring")
	errHelperNoFolder  = errors.New("cannot tell where the home folder is")
	errHelperName      = errors.New("the path of the link has characters that the file cannot hold")
	errMethodArgument  = errors.New("METHOD is no name of a method; a seed is never an argument, because other users of this machine could read it")
	errSeedEmpty       = errors.New("no otpauth:// URL on standard input")
	errSeedLong        = errors.New("that is too long for an otpauth:// URL")
	errImageSize       = errors.New("the picture is too large")
	errImageUnreadable = errors.New("there is none, or it is not sharp enough")
)

func seedThere(method string) error {
	return &hinted{error: fmt.Errorf(textSeedThere, method), hint: fmt.Sprintf(hintSeedThere, shellQuote(method))}
}

func seedNone(method string) error {
	return &hinted{error: fmt.Errorf(textSeedNone, method), hint: fmt.Sprintf(hintSeedNone, shellQuote(method))}
}
