'use strict';
const q = JSON.parse(%DATA%);
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
