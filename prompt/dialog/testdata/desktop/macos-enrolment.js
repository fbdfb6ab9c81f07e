'use strict';
ObjC.import('AppKit');
const q = JSON.parse("{\"title\":\"stepup: a new secret for corp_totp\",\"text\":\"terraform (pid 4711) wants to read kv/data/prod/db\\n\\nVault: corp\\nRule: prod-kv\\nStarted by: make, zsh\\n\\nWrong code: wait for the next one\\n\\nType this into your authenticator:\\nSecret:\\nJBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP\\nAccount: Vault: 0d6c2f0e-8a3c-4f7e-9d1b-2f6a1c3b5d7e\\nKind: time-based, 6 digits, 30 s, SHA1\\n\\nFirst passcode for corp_totp (6 digits)\\nThis window closes after 55 s\",\"ok\":\"Send\",\"cancel\":\"Not now\",\"deny\":\"Deny\",\"entry\":true,\"hidden\":false,\"choices\":[],\"seconds\":57,\"picture\":\"PICTURE\"}");
const app = $.NSApplication.sharedApplication;
app.setActivationPolicy($.NSApplicationActivationPolicyAccessory);
const png = $.NSData.alloc.initWithBase64EncodedStringOptions(q.picture, 0);
const image = $.NSImage.alloc.initWithData(png);
const side = 300;
const view = $.NSImageView.alloc.initWithFrame($.NSMakeRect(0, 32, side, side));
view.image = image;
const field = $.NSTextField.alloc.initWithFrame($.NSMakeRect(0, 0, side, 24));
const box = $.NSView.alloc.initWithFrame($.NSMakeRect(0, 0, side, side + 32));
box.addSubview(view);
box.addSubview(field);
const alert = $.NSAlert.alloc.init;
alert.messageText = q.title;
alert.informativeText = q.text;
alert.accessoryView = box;
const names = [q.ok, q.cancel, q.deny];
names.forEach(function (name) { alert.addButtonWithTitle(name); });
alert.window.initialFirstResponder = field;
if (q.seconds > 0) {
  app.performSelectorWithObjectAfterDelayInModes('abortModal', $(), q.seconds, $(['NSModalPanelRunLoopMode']));
}
app.activateIgnoringOtherApps(true);
const first = 1000;
const button = names[Number(alert.runModal) - first];
JSON.stringify(button === undefined ? { gaveUp: true } : { button: button, text: ObjC.unwrap(field.stringValue) });
