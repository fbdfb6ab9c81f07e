'use strict';
ObjC.import('AppKit');
const q = JSON.parse(%DATA%);
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
