$ErrorActionPreference = 'Stop'
$q = [Console]::In.ReadToEnd() | ConvertFrom-Json
if (-not [Environment]::UserInteractive) { exit 2 }
Add-Type -AssemblyName System.Windows.Forms
Add-Type -AssemblyName System.Drawing
[System.Windows.Forms.Application]::EnableVisualStyles()
$script:button = $q.cancel
$script:text = ''
$script:gaveUp = $false
$form = New-Object System.Windows.Forms.Form
$form.Text = $q.title
$form.TopMost = $true
$form.ShowInTaskbar = $true
$form.StartPosition = 'CenterScreen'
$form.FormBorderStyle = 'FixedDialog'
$form.MaximizeBox = $false
$form.MinimizeBox = $false
$form.AutoScaleMode = 'Font'
$form.Font = [System.Drawing.SystemFonts]::MessageBoxFont
$form.AutoSize = $true
$form.AutoSizeMode = 'GrowAndShrink'
$form.Padding = New-Object System.Windows.Forms.Padding 12
$rows = New-Object System.Windows.Forms.FlowLayoutPanel
$rows.FlowDirection = 'TopDown'
$rows.WrapContents = $false
$rows.AutoSize = $true
$rows.Dock = 'Fill'
$form.Controls.Add($rows)
$label = New-Object System.Windows.Forms.Label
$label.UseMnemonic = $false
$label.AutoSize = $true
$label.MaximumSize = New-Object System.Drawing.Size 560, 0
$label.Text = $q.text.Replace([string][char]10, [Environment]::NewLine)
$rows.Controls.Add($label)
if ($q.picture) {
  $png = [Convert]::FromBase64String($q.picture)
  $picture = New-Object System.Windows.Forms.PictureBox
  $picture.SizeMode = 'AutoSize'
  $picture.Image = [System.Drawing.Image]::FromStream((New-Object System.IO.MemoryStream (, $png)))
  $rows.Controls.Add($picture)
}
$entry = $null
$list = $null
if ($q.entry) {
  $entry = New-Object System.Windows.Forms.TextBox
  $entry.Width = 360
  $entry.UseSystemPasswordChar = $q.hidden
  $rows.Controls.Add($entry)
}
if ($q.choices.Count -gt 0) {
  $list = New-Object System.Windows.Forms.ListBox
  $list.Width = 360
  $list.Height = 160
  foreach ($choice in $q.choices) { [void]$list.Items.Add($choice) }
  $rows.Controls.Add($list)
}
$buttons = New-Object System.Windows.Forms.FlowLayoutPanel
$buttons.AutoSize = $true
$rows.Controls.Add($buttons)
function Add-Button($name) {
  $b = New-Object System.Windows.Forms.Button
  $b.UseMnemonic = $false
  $b.AutoSize = $true
  $b.Text = $name
  $b.Tag = $name
  $b.Add_Click({ $script:button = $this.Tag; $form.Close() })
  $buttons.Controls.Add($b)
  return $b
}
$ok = Add-Button $q.ok
$cancel = Add-Button $q.cancel
$deny = Add-Button $q.deny
$form.CancelButton = $cancel
if ($entry -or $list) { $form.AcceptButton = $ok } else { $form.AcceptButton = $cancel }
$timer = New-Object System.Windows.Forms.Timer
if ($q.seconds -gt 0) {
  $timer.Interval = 1000 * $q.seconds
  $timer.Add_Tick({ $script:gaveUp = $true; $form.Close() })
  $timer.Start()
}
$form.Add_Shown({
  $form.Activate()
  [System.Media.SystemSounds]::Question.Play()
  if ($entry) { [void]$entry.Focus() } elseif ($list) { [void]$list.Focus() } else { [void]$cancel.Focus() }
})
[void]$form.ShowDialog()
$timer.Stop()
if ($entry) { $script:text = $entry.Text }
if ($list -and $list.SelectedIndex -ge 0) { $script:text = [string]$list.SelectedItem }
$result = @{ button = $script:button; text = $script:text; gaveUp = $script:gaveUp } | ConvertTo-Json -Compress
$bytes = [System.Text.Encoding]::UTF8.GetBytes($result)
$stdout = [Console]::OpenStandardOutput()
$stdout.Write($bytes, 0, $bytes.Length)
$stdout.Flush()
exit 0
