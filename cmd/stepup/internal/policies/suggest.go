package policies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-stepup/stepup/agent"
	"github.com/vault-stepup/stepup/agent/rule"
	"github.com/vault-stepup/stepup/agent/vault"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/cli"
	"github.com/vault-stepup/stepup/cmd/stepup/internal/vaultcli"
)

// A suggestion is stepup config suggest.
type suggestion struct {
	*cli.Console
	vault     string
	namespace string
	check     bool
}

// Command is stepup config suggest.
func Command(c *cli.Console) *cobra.Command {
	s := &suggestion{Console: c}
	cmd := &cobra.Command{
		Use: "suggest [FILE…]", Short: "write rules for what Vault's policies want", Long: textLong,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args) },
	}
	cmd.Flags().StringVar(&s.vault, "vault", "", "the vault block whose server is read, where there are several")
	cmd.Flags().StringVar(&s.namespace, "namespace", "", "where to begin to read, or the namespace of the files")
	cmd.Flags().BoolVar(&s.check, "check", false, "compare with the configuration instead: exit with 1 on a difference")
	return cmd
}

func (s *suggestion) run(ctx context.Context, files []string) error {
	if s.namespace != "" && !rule.CanBeNamespace(s.namespace) {
		return cli.Usage(errors.New("--namespace: there can be none of that name"), "write it as in X-Vault-Namespace: team/sub")
	}
	var (
		c   *agent.Config
		err error
	)
	if len(files) == 0 || s.check {
		if c, err = s.Load(); err != nil {
			return err
		}
	}
	from, err := s.source(ctx, c, files)
	if err != nil {
		return err
	}
	entries, notes := build(from)
	s.warn(notes, 0)
	if s.check {
		return s.compare(c, from, entries)
	}
	all := blocks(entries)
	missing := len(unread(from.acl))
	if n := len(from.acl) - missing; len(all) == 0 && n > 0 {
		s.Notify("%d %s: none of them names mfa_methods or a control_group", n, plural(n, "policy", "policies"))
	}
	p := printer{source: from, taken: make(map[string]bool)}
	if c != nil && len(c.Vaults) > 1 {
		p.vault = s.vault
	}
	if err := p.print(s.Out, all); err != nil || missing == 0 {
		return err
	}
	hint := "`vault policy read NAME` shows what is in it"
	if len(files) > 0 {
		hint = "name files with nothing but Vault's ACL policies, in HCL or JSON; Terraform has them in `policy` of a vault_policy"
	}
	return &cli.Error{Err: fmt.Errorf("%d %s cannot be read: their rules are missing", missing, plural(missing, "policy", "policies")), Hint: hint}
}

// warn says what was left out; names in it are the server's. There are more of such notes.
func (s *suggestion) warn(notes []string, more int) {
	for i, note := range notes {
		if i == maxNotes {
			more += len(notes) - i
			break
		}
		s.Notify("warning: %s", cli.Printable(note))
	}
	if more > 0 {
		s.Notify("warning: and %d more of that kind", more)
	}
}

func (s *suggestion) source(ctx context.Context, c *agent.Config, files []string) (source, error) {
	if len(files) == 0 {
		return s.fromServer(ctx, c)
	}
	namespace := rule.Namespace(s.namespace)
	from := source{namespaces: []string{namespace}, named: s.namespace != ""}
	for _, file := range files {
		texts, err := s.readFiles(file)
		if err != nil {
			return source{}, err
		}
		for _, text := range texts {
			text.namespace = namespace
			from.acl = append(from.acl, text)
		}
	}
	return from, nil
}

// readFiles reads a policy, standard input for "-", or the .hcl and .json files of a folder
// and of those in it.
func (s *suggestion) readFiles(name string) ([]policyText, error) {
	if name == "-" {
		text, err := readPolicy(s.In)
		return []policyText{{name: "standard input", text: text}}, err
	}
	names := []string{name}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		if names, err = policyFiles(name); err != nil {
			return nil, err
		}
	}
	var all []policyText
	for _, one := range names {
		f, err := os.Open(one)
		if err != nil {
			return nil, cli.Usage(err, "name files with policies, or none to read them from Vault")
		}
		text, err := readPolicy(f)
		err = errors.Join(err, f.Close())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cli.Printable(one), err)
		}
		base := filepath.Base(one)
		all = append(all, policyText{name: strings.TrimSuffix(base, filepath.Ext(base)), text: text, file: one})
	}
	return all, nil
}

func policyFiles(folder string) (names []string, err error) {
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		switch hidden := strings.HasPrefix(d.Name(), ".") && name != folder; {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case !d.IsDir() && slices.Contains([]string{".hcl", ".json"}, filepath.Ext(name)):
			names = append(names, name)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		return nil, cli.Usage(fmt.Errorf("no file in %s ends in .hcl or .json", folder), "name the files with policies")
	}
	return names, err
}

func readPolicy(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, 2*maxPolicy))
	return unwrapped(string(text)), err
}

// fromServer reads the policies of the server of a vault block, by the way that the
// agent goes to it and with the token that the Vault CLI would use.
func (s *suggestion) fromServer(ctx context.Context, c *agent.Config) (source, error) {
	v, ok := c.Vault(s.vault)
	if !ok {
		err := errors.New("there are several vaults")
		if s.vault != "" {
			err = fmt.Errorf("no vault %s", cli.Printable(s.vault))
		}
		return source{}, cli.Usage(err, cli.VaultHint(c.Vaults))
	}
	s.vault = v.Name
	client, transport, err := vault.Connect(v.Name, v.Address, v.TLS)
	if err != nil {
		return source{}, err
	}
	defer transport.CloseIdleConnections()
	base, _ := vault.Base(v.Address)
	// A helper keeps a token for each server: this one must get no other's.
	token, err := vaultcli.Token(ctx, s.Console, vaultcli.Toward(os.Environ(), base.String()))
	if err != nil {
		return source{}, err
	}
	r := &reader{client: client, token: token}
	namespace := v.Namespace
	if s.namespace != "" {
		namespace = s.namespace
	}
	if err := r.read(ctx, rule.Namespace(namespace)); err != nil {
		return source{}, &cli.Error{Err: err, Hint: hintRead(err)}
	}
	s.warn(r.notes, r.more)
	return r.source, nil
}

// hintRead is the way out where policies cannot be read.
func hintRead(err error) string {
	if status, ok := errors.AsType[*vault.StatusError](err); ok && status.Status == http.StatusForbidden {
		return "the token needs list and read on sys/policies/acl/*; or name files with policies"
	}
	return "`stepup doctor` says what is wrong with the server; or name files with policies"
}

// compare says what the configuration lacks, and what it asks for without a policy.
func (s *suggestion) compare(c *agent.Config, from source, entries []*entry) error {
	rules := slices.DeleteFunc(slices.Clone(c.Rules), func(r rule.Rule) bool { return r.Vault != "" && s.vault != "" && r.Vault != s.vault })
	found := slices.Concat(unread(from.acl), missing(rules, entries), tooWide(rules, entries), wrongTypes(c.Methods, from.methods))
	for _, line := range found {
		s.Say("%s", cli.PrintableLine(line))
	}
	if len(found) > 0 {
		return &cli.Error{Err: fmt.Errorf("the configuration differs from the policies: %s", cli.Counted(len(found), "difference")), Hint: "`stepup config suggest` writes the rules that the policies want"}
	}
	s.Say("the rules are those of the policies")
	return nil
}

const textLong = `Writes the mfa_method and step_up blocks for the mfa_methods and control_group
stanzas of policies, the most specific path first, as Vault looks at them.

Without FILE, reads the policies of the server of the configuration, in every
namespace, with the token that the Vault CLI would use: it needs list and read
on sys/policies/acl/*. With FILE (HCL, JSON, or a folder of them; - is standard
input), reads these. Sentinel policies and the types of methods are read where
the token may. Read what it writes before you use it.

--check compares the configuration with the policies, writes what it lacks and
where it is too wide, and exits with 1 on a difference.`
