'use strict';
const q = JSON.parse("{\"title\":\"stepup: tap 42 in Okta Verify\",\"text\":\"terraform (pid 4711) wants to read kv/data/prod/db\\n\\nVault: corp\\nRule: prod-kv\\nStarted by: make, zsh\\n\\nTap 42 in Okta Verify (okta)\\nThis window closes after 55 s\",\"ok\":\"OK\",\"cancel\":\"Not now\",\"deny\":\"Deny\",\"entry\":false,\"hidden\":false,\"choices\":[],\"seconds\":57}");
const app = Application.currentApplication();
app.includeStandardAdditions = true;
function ask() {
  app.activate();
  try {
    if (q.choices.length > 0) {
      const picked = app.chooseFromList(q.choices, {
        withTitle: q.title, withPrompt: q.text, okButtonName: q.ok, cancelButtonName: q.cancel
      });
      return picked === false ? { button: q.cancel } : { button: q.ok, text: picked[0] };
    }
    const options = {
      withTitle: q.title, withIcon: 'caution', buttons: [q.deny, q.cancel, q.ok],
      defaultButton: q.entry ? q.ok : q.cancel, cancelButton: q.cancel
    };
    if (q.entry) {
      options.defaultAnswer = '';
      options.hiddenAnswer = q.hidden;
    }
    if (q.seconds > 0) {
      options.givingUpAfter = q.seconds;
    }
    const r = app.displayDialog(q.text, options);
    return r.gaveUp ? { gaveUp: true } : { button: r.buttonReturned, text: r.textReturned };
  } catch (e) {
    if (e.errorNumber === -128) {
      return { button: q.cancel };
    }
    throw e;
  }
}
JSON.stringify(ask());
