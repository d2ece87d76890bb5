/** Texts of the device check. */
export default {
  check: "Test de l’appareil",
  checkLead:
    "Cette page essaie, sur cet appareil et dans ce navigateur, tout ce dont Jird a besoin. Cela prend environ une minute. Rien n’est envoyé nulle part.",
  checkStart: "Lancer le test",
  checkAgain: "Tester à nouveau",
  checkRunning: "Test en cours…",
  checkSummary: "{ok} en ordre, {failed} en échec, {skipped} non essayés.",
  checkReport: "Rapport",
  checkReportLead:
    "Il nomme ce navigateur, son GPU et ce qui s’est passé ci-dessus ; il ne contient rien de vos discussions. Vous décidez si quelqu’un le reçoit.",
  checkSave: "Enregistrer dans un fichier",
  checkLink: "Tester tout l’appareil",
  check_ok: "en ordre",
  check_failed: "en échec",
  check_skipped: "non essayé",
  check_secure: "Adresse sécurisée",
  check_secure_ok: "L’adresse est sécurisée, le navigateur offre donc son GPU et son stockage.",
  check_secure_failed:
    "L’adresse n’est pas sécurisée (https), le navigateur cache donc son GPU et son stockage.",
  check_python: "Python",
  check_python_ok: "Python a démarré en {seconds} s.",
  check_store: "Stockage des modèles",
  check_store_ok: "{bytes} ont été écrits, relus et retrouvés identiques ({backend}).",
  check_store_memory:
    "Ce navigateur ne garde pas de fichiers : les modèles disparaissent avec l’onglet ({backend}, {bytes}).",
  check_store_damaged:
    "{bytes} ont été écrits, mais ce qui est relu n’est pas identique ({backend}).",
  check_handles: "Accès rapide aux fichiers",
  check_handles_ok: "Les fichiers sont écrits par des accès synchrones.",
  check_handles_skipped:
    "Les accès synchrones ne servent pas ici ({reason}) ; un autre moyen les remplace.",
  check_chats: "Stockage des discussions",
  check_chats_ok: "La base de données du navigateur garde ce qui est écrit.",
  check_chats_failed: "La base de données du navigateur a perdu ce qui était écrit.",
  check_room: "Place",
  check_room_ok:
    "{free} sont libres pour ce site ; le navigateur peut les effacer si la place manque.",
  check_room_kept:
    "{free} sont libres pour ce site, et le navigateur a promis de garder ses données.",
  check_room_unknown: "Ce navigateur ne dit pas combien de place il y a.",
  check_offline: "Démarrage sans réseau",
  check_offline_ok: "Jird est stocké et démarre sans réseau.",
  check_offline_skipped:
    "Jird n’est pas encore stocké ici : ouvrez-le une fois, puis testez à nouveau.",
  check_offline_failed:
    "Ce navigateur ne stocke pas de pages : Jird a besoin d’un réseau pour démarrer.",
  check_gpu: "GPU",
  check_gpu_ok:
    "{name} : liaisons jusqu’à {binding}, tampons jusqu’à {buffer}. Capacités : {features}.",
  check_llama: "Un modèle minuscule",
  check_hybrid: "Un modèle hybride minuscule",
  check_model_ok:
    "Il a écrit les {tokens} bons jetons, {seconds} s avec son chargement ({backend}).",
  check_model_failed:
    "Il a écrit d’autres jetons que les bons : quelque chose calcule faux ici ({backend} : {found}).",
  check_model_skipped: "Non essayé : il n’y a pas de GPU pour cela.",
  check_selftest: "Ce que calcule le GPU",
  check_selftest_ok:
    "{right} essais sur {all} sont justes, en {ms} ms : {dispatches} dispatches par envoi, en passes : {passes}.",
  check_selftest_failed:
    "{right} essais sur {all} sont justes ; Jird évite ce qui est faux ({wrong}). Les envois contiennent {dispatches} dispatches.",
  check_sound: "Son",
  check_sound_ok: "Les worklets audio et l’accès à un micro sont là.",
  check_sound_skipped:
    "Les worklets audio sont là, mais ce navigateur ne donne pas accès à un micro.",
  check_sound_failed: "Ce navigateur n’a pas de worklets audio, dont la parole a besoin.",
  check_install: "Installé",
  check_install_ok: "Jird fonctionne comme une application installée.",
  check_install_skipped:
    "Jird fonctionne dans un onglet du navigateur, pas comme une application installée.",
};
