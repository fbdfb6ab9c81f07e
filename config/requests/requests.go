// Package requests reads the file of stepup config test: requests, each with the rule that it
// is expected to come under and the words that the person is expected to be asked with.
package requests

import (
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/vault-stepup/stepup/config/excerpt"
	"github.com/vault-stepup/stepup/config/layers"
)

// A Request is one block of the file.
type Request struct {
	Name      string   `hcl:"name,label"`
	Method    string   `hcl:"method,optional"` // of HTTP; "" is GET, or PUT for a login
	Path      string   `hcl:"path"`            // as a program sends it, with or without /v1/
	Namespace string   `hcl:"namespace,optional"`
	Vault     string   `hcl:"vault,optional"` // name of the vault block; "" is the only one
	Token     *bool    `hcl:"token,optional"` // whether it carries one; nil is yes, or no for a login
	Login     []string `hcl:"login,optional"` // the methods of which Vault wants one, for a login
	Rule      string   `hcl:"rule"`           // expected; "" is none
	Words     []string `hcl:"words,optional"` // expected in the question; empty is none, nil any

	At string // file:line
}

// WithToken reports whether the request carries a token.
func (r Request) WithToken() bool {
	if r.Token != nil {
		return *r.Token
	}
	return len(r.Login) == 0
}

// Problems are what is wrong with a file. The zero value is nothing.
type Problems struct {
	list   hcl.Diagnostics
	source func(string) []byte
}

// Any reports whether there are any.
func (p Problems) Any() bool { return len(p.list) > 0 }

// Write prints them with the lines of the file. Text is broken at width columns.
func (p Problems) Write(w io.Writer, width int, color bool) error {
	printer := excerpt.Printer{Width: width, Color: color, Source: p.source}
	for _, one := range p.list {
		printer.Print(one)
	}
	_, err := io.WriteString(w, printer.String())
	return err
}

// Parse reads a file. name stands for its path. With problems there are no requests.
func Parse(name string, text []byte) ([]Request, Problems) {
	tree := layers.Parse(name, text)
	p := Problems{source: tree.Text}
	for _, one := range tree.Problems {
		p.add(one.Summary, one.Detail, one.At)
	}
	for _, b := range tree.Variables {
		p.add("there are no variables here", "write the values themselves", b.DefRange())
	}
	if p.Any() {
		return nil, p
	}
	var file struct {
		Requests []Request `hcl:"request,block"`
	}
	for _, d := range gohcl.DecodeBody(tree.Body, nil, &file) {
		at := hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos}
		if d.Subject != nil {
			at = *d.Subject
		}
		p.add(d.Summary, d.Detail, at)
	}
	if p.Any() {
		return nil, p
	}
	seen := map[string]bool{}
	for i, b := range tree.Body.Blocks { // in the same order
		r := &file.Requests[i]
		r.At = excerpt.Place(b.DefRange())
		p.check(*r, b, seen[r.Name])
		seen[r.Name] = true
	}
	if len(file.Requests) == 0 {
		p.add("there is no request block", `write request "NAME" { path = "…" rule = "…" } on several lines`, hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos})
	}
	if p.Any() {
		return nil, p
	}
	return file.Requests, p
}

// check reports what is wrong with a request.
func (p *Problems) check(r Request, b *hclsyntax.Block, again bool) {
	switch {
	case again:
		p.add(fmt.Sprintf("there are two requests %q", r.Name), "give one of them another name", b.DefRange())
	case strings.Trim(r.Path, "/") == "" || strings.ContainsAny(r.Path, " \t\r\n#"):
		p.add("path is not one that a program could send", "write it as in Vault's API, such as kv/data/prod/db", b.Body.Attributes["path"].Expr.Range())
	case strings.ContainsFunc(r.Method, func(c rune) bool { return c < 'A' || c > 'Z' }):
		p.add("method is not one of HTTP", "write it as in GET, PUT or LIST", b.Body.Attributes["method"].Expr.Range())
	case strings.ContainsAny(r.Namespace, "\r\n"):
		p.add("namespace is not one that a program could send", "", b.Body.Attributes["namespace"].Expr.Range())
	}
}

func (p *Problems) add(summary, detail string, at hcl.Range) {
	p.list = append(p.list, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: layers.Lower(summary), Detail: layers.Lower(detail), Subject: &at})
}
