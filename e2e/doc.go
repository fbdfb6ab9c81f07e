// Package e2e drives the stepup binary from outside: the real vault server, CLI
// and client library on both sides of it, a small program in place of the user, and
// stand-ins only for what is not open source (Enterprise's enforcement of
// mfa_methods, the services that send pushes). It is a module of its own because
// Vault's server has hundreds of dependencies and its licence (BUSL-1.1) allows test
// use only.
//
// Everything is in the tests; "go run ./getvault" builds the server they need, and
// "go run ./getclients" the clients.
package e2e
